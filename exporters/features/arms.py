"""Measurements that name their variant, by arm: assignments, results, latencies, values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from rollguard.conventions import ROLLOUT_LABEL
from rollguard.exporters.exposition.families import Labels
from rollguard.exporters.features.declaration import Declaration, DeclaredMetric
from rollguard.exporters.features.measurement import Measurement, number
from rollguard.exporters.measures.arm_counters import ArmCounter, ArmOutcomes, Binned, Heads
from rollguard.exporters.measures.assignments import BASELINE, CANARY, number_of, percents_of_stages
from rollguard.exporters.measures.evidence import Evidence, Judged
from rollguard.spec.rollout import Rollout

DRAWN = frozenset({"variant", "percent", "assignment", "unit", "opened_ts"})
"""Keys that say how a measurement was assigned."""

_OK, _ERROR = range(2)
_VARIANTS = {"exposed": CANARY, "unexposed": BASELINE}


class FeatureArms:
    """Counts the measurements of several rollouts by arm, as it is declared.

    Args:
        declaration: the metrics.
        rollouts: that know the percents of their stages and their variants, by name.
        clock: Unix seconds.
    """

    def __init__(
        self, declaration: Declaration, rollouts: Iterable[Rollout], clock: Callable[[], float]
    ) -> None:
        known = {rollout.name: rollout for rollout in rollouts}
        self._variants = {name: dict(_VARIANTS) for name in declaration.rollouts}
        for name in known.keys() & self._variants.keys():
            flag = known[name].flag
            self._variants[name] |= {flag.serve: CANARY, flag.fallback: BASELINE}
        percents: dict[Labels, Mapping[str, float]] = {
            (name,): percents_of_stages(known[name]) if name in known else {} for name in declaration.rollouts
        }
        counted = [_Counted.of_declared(one, declaration) for one in declaration.metrics if one.by_arm]
        counters = [one.counters for one in counted]
        self.evidence = Evidence(counters, percents, before=(ROLLOUT_LABEL,), clock=clock)
        self._of = {
            name: [one for one in counted if (name,) in one.counters.heads] for name in declaration.rollouts
        }

    def keys(self, rollout: str) -> frozenset[str]:
        """Return the keys of a rollout's measurements that it is made of."""
        made_of = {key for one in self._of[rollout] for key in (one.key, one.of) if key}
        return DRAWN.union(made_of) if made_of else frozenset()

    def begin_stage(self, event: Measurement) -> None:
        """Begin a stage of a rollout."""
        said = event.values
        stage = said.get("stage")
        name = stage if isinstance(stage, str) else ""
        self.evidence.begin_stage((event.rollout,), event.ts, name, said.get("percent"), said.get("run"))

    def take(self, event: Measurement) -> None:
        """Let a measurement move what it moves."""
        said, head = event.values, (event.rollout,)
        judged: dict[bool, Judged] = {}
        for one in self._of[event.rollout]:
            if said.get(one.key) is None and said.get(one.of) is None:
                continue
            if one.is_assigned not in judged or event.unit is not None:
                judged[one.is_assigned] = self._judge(one, event)
            for outcome, n in one.outcomes(event):
                self.evidence.take(one.counters, head, judged[one.is_assigned], outcome, n)

    def _judge(self, one: _Counted, event: Measurement) -> Judged:
        variant = event.values.get("variant")
        arm = self._variants[event.rollout].get(variant) if isinstance(variant, str) else None
        opened_ts = event.values.get("opened_ts")
        if opened_ts is None and one.is_assigned:
            opened_ts = event.ts
        return self.evidence.judge((event.rollout, one.counters.name), event, arm, opened_ts)


class _Counted(NamedTuple):
    """A declared metric that is counted by arm.

    Args:
        counters: its own.
        key: of the value.
        of: key of how many there are; empty where the value is of one.
        is_assigned: whether it counts assignments.
    """

    counters: ArmCounter | ArmOutcomes
    key: str
    of: str
    is_assigned: bool

    @classmethod
    def of_declared(cls, declared: DeclaredMetric, declaration: Declaration) -> _Counted:
        """Return what counts a metric of a declaration."""
        named = frozenset((rollout,) for rollout in declared.rollouts or declaration.rollouts)
        counters = declared.counted(Heads((ROLLOUT_LABEL,), named))
        return cls(counters, declared.key, declared.of or "", isinstance(counters, ArmCounter))

    def outcomes(self, event: Measurement) -> Iterable[tuple[int | None, float]]:
        """Return the numbers of outcomes, None of a value that is none, and how often each."""
        value = event.values.get(self.key)
        if isinstance(self.counters, Binned):
            number = number_of(value)
            return [(None if number is None else self.counters.bin(number), 1)]
        if self.is_assigned:
            return _shares(event, value, 0)
        if self.of:
            return _shares(event, event.values.get(self.of), 0 if value is None else value)
        return [(_ERROR - int(value) if value in (True, False) else None, 1)]


def _shares(event: Measurement, total: object, bad: object) -> list[tuple[int | None, float]]:
    """Return how many are ok, and how many are not; a unit's count as one, whatever they are."""
    many, worse = number(total), number(bad)
    if many is None or worse is None or not 0 <= worse <= many:
        return [(None, 1)]
    if event.unit is not None:
        many, worse = min(many, 1), min(worse, 1)
    return [(outcome, n) for outcome, n in ((_OK, many - worse), (_ERROR, worse)) if n]
