"""What Prometheus shows of a rollout: are its guards loaded, can they judge, do its criteria hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from rollguard.conventions import GUARD_LABEL, ROLLOUT_LABEL, RULES_INFO
from rollguard.durations import render
from rollguard.monitoring.prometheus import Rule
from rollguard.spec.platform import acting_guards
from rollguard.spec.rollout import Action, Criterion, Failure, Guard, Rollout

STALE_INTERVALS = 3
"""After so many intervals without an evaluation, nobody knows what the guards would say."""
_STALE_SECONDS = 5.0

Condition: TypeAlias = Literal["armed", "waiting", "without data", "breached", "closed"]


@dataclass(frozen=True)
class Rules:
    """The rules of a rollout as Prometheus has them loaded.

    Args:
        digests: of the rollout files that they were rendered from.
        age_seconds: since they were last evaluated; None where that is not known.
        guards: by the guard's name; several rules where an alert has a rule for each of its scopes.
    """

    digests: frozenset[str] = frozenset()
    age_seconds: float | None = None
    guards: Mapping[str, tuple[Rule, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class GuardObservation:
    """What a guard can say.

    Args:
        condition: ``breached`` while its rule is pending or fires; ``waiting`` for a minimal sample;
            ``armed`` where it was evaluated false with data; ``closed`` while its clock stands still; None
            where nobody has looked.
        why: what is wrong; empty where nothing is.
        armed_share: for what part of the stage it could judge, 0-1; None where that is not known.
        silent_seconds: for how long it could not judge at any look, without data or below its minimal
            sample; None where it can.
        clear_seconds: of a guard that holds: for how long it has been evaluated false with data, no longer
            than its hold needs; None where it is not.
    """

    condition: Condition | None
    why: str = ""
    armed_share: float | None = None
    silent_seconds: float | None = None
    clear_seconds: float | None = None


@dataclass(frozen=True)
class CriterionObservation:
    """Whether a criterion holds.

    Args:
        name: its name.
        query: as it was asked, with the rollout's label.
        value: what it compares; None without data.
        holds: whether it holds now.
        error: why it cannot be told; empty where it can.
        failed_at: of one that must hold throughout: when it last did not, Unix seconds.
        missing: of a proof, what it still needs, in words.
    """

    name: str
    query: str
    value: float | None = None
    holds: bool = False
    error: str = ""
    failed_at: float | None = None
    missing: str = ""

    def evidence(self) -> dict[str, Any]:
        """Return what was seen as JSON data, for the ledger."""
        return {"name": self.name, "query": self.query, "value": self.value, "holds": self.holds}


@dataclass(frozen=True)
class Observation:
    """What Prometheus showed at one moment of a rollout in one state.

    Args:
        at: Unix seconds, by our clock.
        newest: the ledger entry that its state was of: what is seen of another state says nothing.
        problems: why it cannot be trusted to watch.
        guards: what each guard can say that is armed in this stage.
        criteria: those of this stage.
        failures: what would fail this stage; it does where it holds.
        clock_seconds: how much of the stage's hold has passed in time that Prometheus evaluated.
        ahead: guards that would roll back the next stage at once.
    """

    at: float
    newest: int
    problems: tuple[str, ...] = ()
    guards: Mapping[str, GuardObservation] = field(default_factory=dict)
    criteria: tuple[CriterionObservation, ...] = ()
    failures: tuple[CriterionObservation, ...] = ()
    clock_seconds: float = 0.0
    ahead: tuple[str, ...] = ()

    def evidence(self) -> dict[str, Any]:
        """Return what was seen as JSON data, for the ledger."""
        return {
            "clock_seconds": round(self.clock_seconds, 3),
            "criteria": [seen.evidence() for seen in self.criteria],
            "guards": {
                name: {"condition": seen.condition, "armed_share": seen.armed_share}
                for name, seen in self.guards.items()
            },
        }


def rules_of(rollout: str, rules: Iterable[Rule], age_seconds: float | None) -> Rules:
    """Return the rules of one rollout among all that are loaded.

    Args:
        rollout: its name.
        rules: all of them.
        age_seconds: since its own were last evaluated.
    """
    own = [rule for rule in rules if rule.labels.get(ROLLOUT_LABEL) == rollout]
    digests = frozenset(rule.labels.get("digest", "") for rule in own if rule.name == RULES_INFO)
    guards: dict[str, tuple[Rule, ...]] = {}
    for rule in own:
        name = rule.labels.get(GUARD_LABEL)
        if name is not None:
            guards[name] = (*guards.get(name, ()), rule)
    return Rules(digests, age_seconds, guards)


def problems(rollout: Rollout, rules: Rules, interval: float) -> Iterator[str]:
    """Yield why the rules that are loaded do not watch a rollout.

    Args:
        rollout: its file.
        rules: what is loaded.
        interval: seconds between two evaluations.
    """
    digest = rollout.digest()
    if not rules.digests:
        yield f"Prometheus has no rules of {rollout.name}: load what `rollguard generate` wrote"
    elif rules.digests != {digest}:
        loaded = ", ".join(sorted(rules.digests))
        differs = f"digest {loaded}, expected {digest}"
        yield f"Prometheus has the rules of another file loaded ({differs}): generate, and reload"
    elif rules.age_seconds is None:
        yield "its rules have not been evaluated yet"
    elif rules.age_seconds > STALE_INTERVALS * interval + _STALE_SECONDS:
        yield f"its rules were last evaluated {render(round(rules.age_seconds))} ago"


def not_ready(rollout: Rollout, rules: Rules, position: str, actions: Iterable[Action]) -> Iterator[str]:
    """Yield the guards that are armed at a position and are pending, fire, or are not evaluated.

    Args:
        rollout: its file.
        rules: what is loaded.
        position: a stage's name, or `enabled`.
        actions: of the guards that are meant.
    """
    wanted = tuple(actions)
    for guard in acting_guards(rollout):
        if guard.action in wanted and guard.armed_in(position):
            state, why = state_of(rules.guards.get(guard.name, ()))
            if why:
                yield f"{guard.name} {why}"
            elif state != "inactive":
                yield f"{guard.name} {'fires' if state == 'firing' else 'is pending'}"


def state_of(rules: tuple[Rule, ...]) -> tuple[str, str]:
    """Return the worst state of a guard's rules, and why it cannot be told; that is empty where it can."""
    if not rules:
        return "inactive", "has no rule"
    for rule in rules:
        if rule.error:
            return "inactive", f"cannot be evaluated: {rule.error}"
        if not rule.evaluated:
            return "inactive", "has not been evaluated yet"
    states = {rule.state for rule in rules}
    return next(state for state in ("firing", "pending", "inactive") if state in states), ""


def criteria_of(rollout: Rollout, stage: str) -> list[Criterion]:
    """Return the criteria that must hold before a stage may end."""
    return [item for item in rollout.advance if item.stages is None or stage in item.stages]


def failures_of(rollout: Rollout, stage: str | None) -> list[Failure]:
    """Return what would fail a stage."""
    return [item for item in rollout.fail if item.stages is None or stage in item.stages]


def guards_of(rollout: Rollout, position: str) -> list[Guard]:
    """Return the guards that act on a rollout at a position."""
    return [guard for guard in acting_guards(rollout) if guard.armed_in(position)]
