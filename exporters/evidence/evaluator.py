"""The evaluator: one look's counters become evidence; no clock, and nothing is read or written."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from rollguard.exporters.evidence import outcomes
from rollguard.exporters.evidence.counters import (
    KEPT_SECONDS,
    CounterError,
    Counters,
    Gained,
    check,
    created,
    target_of,
)
from rollguard.exporters.evidence.judged import ASSIGNMENTS, Judged
from rollguard.exporters.evidence.outcomes import Counts, OutcomeError
from rollguard.exporters.measures import bets, betting, dispersion
from rollguard.exporters.measures.betting import Array, Bet, Evidence, Increments
from rollguard.exporters.measures.dispersion import Spread
from rollguard.exporters.measures.effects import difference
from rollguard.exporters.measures.evidence import START
from rollguard.monitoring.prometheus import Sample
from rollguard.spec.series import Series

SPLIT_ALPHA = 0.001
ARM_GONE_SECONDS = 300.0
"""So long an arm may have no series before its guard has no evidence."""

PROCESS_START = "process_start_time_seconds"

_MINUTE = 60.0
_ENOUGH = 20.0
_MOST_LEFT_OUT = 0.01
_ARM_NAMES = ("the old variant", "the new variant")


class TroubleError(Exception):
    """Why a guard has no evidence, in few words."""


class Look(msgspec.Struct):
    """What Prometheus said of one rollout.

    Args:
        at: the moment that was asked for, Unix seconds.
        run: number of the run that is on; None where none is; 0 where nobody says, so that the last counts.
        samples: by selector, as text.
        starts: the series that say when counters began, Unix seconds.
        left_out: of an exporter's events that should be evidence, by metric: how many there were, and by
            reason how many were left out.
        held: the guards that hold the rollout.
        error: why there are no samples; empty where there are.
    """

    at: float
    run: int | None = 0
    samples: dict[str, list[Sample]] = {}
    starts: list[Sample] = []
    left_out: dict[str, tuple[float, dict[str, float]]] = {}
    held: frozenset[str] = frozenset()
    error: str = ""


class GuardState(msgspec.Struct):
    """The evidence about one guard in one run.

    Args:
        counters: by role.
        targets: when each target was last read, Unix seconds.
        edges: of the buckets or bins of its outcomes, without +Inf.
        evidence: by the label of `each`.
        totals: outcomes by arm, by assigned share; shape (2, C).
        began: by assigned share, when it was first seen, Unix seconds.
        arms: when the old and the new variant last had a series, Unix seconds.
        peak: the greatest log E of the run.
        split: evidence that the arms were not split as declared.
        spread: of the arms' difference, from minute to minute; None without arms, and of bets side by side.
        minute: outcomes since the last whole minute, as totals.
        minute_began: Unix seconds.
        left_out: by metric, events and those left out at the first look.
        looked_at: Unix seconds; None before the first look.
        held: whether it held the rollout at the last look.
        trouble: why there is no evidence now; empty where there is.
    """

    counters: dict[str, Counters] = {}
    targets: dict[str, float] = {}
    edges: list[float] = []
    evidence: dict[str, Evidence] = {}
    totals: dict[str, Array] = {}
    began: dict[str, float] = {}
    arms: list[float] = []
    peak: float = 0.0
    split: Evidence | None = None
    spread: Spread | None = None
    minute: dict[str, Array] = {}
    minute_began: float | None = None
    left_out: dict[str, tuple[float, float]] = {}
    looked_at: float | None = None
    held: bool = False
    trouble: str = "nothing was read yet"

    def look(self, judged: Judged, look: Look) -> None:
        """Update the evidence with one look; `trouble` then says why there is none, if so.

        Args:
            judged: the guard.
            look: at its rollout.
        """
        if self.held and judged.guard not in look.held:
            self._begin_again(judged)
        self.held = judged.guard in look.held
        try:
            if look.error:
                raise TroubleError(look.error)
            self._take(judged, look)
            self._require_arms(judged, look.at)
            self._require_split()
            self._require_whole(judged, look)
            self._require_single(judged)
        except (TroubleError, OutcomeError) as error:
            self.trouble = str(error)
        else:
            self.trouble = ""

    def log_e(self, judged: Judged) -> float | None:
        """Return the log of the evidence in force, in nats, or None if there is no evidence."""
        if self.trouble or not self.evidence:
            return None
        return self.peak if judged.sticky else self._now()

    def effect(self, judged: Judged) -> tuple[float, float, float]:
        """Return how much worse the new variant's mean is, with its lower and upper bound; NaN for none."""
        if judged.arms is None or not self.totals:
            return math.nan, math.nan, math.nan
        old, new = (np.stack([both[arm] for both in self.totals.values()]) for arm in (0, 1))
        values = np.asarray(judged.values(self._categories(judged)))
        middle, lower, upper = difference(new, old, -values if judged.higher_is_better else values)
        return float(middle), float(lower), float(upper)

    def events(self, arm: int) -> float:
        """Return how many outcomes of the old (0) or the new variant (1) were judged."""
        return float(sum(both[arm].sum() for both in self.totals.values()))

    def mean(self, judged: Judged, arm: int) -> float:
        """Return the mean outcome of the old (0) or the new variant (1); NaN for none."""
        if not self.events(arm):
            return math.nan
        counted = sum(both[arm] for both in self.totals.values())
        return float(counted @ np.asarray(judged.values(self._categories(judged))) / counted.sum())

    def _now(self) -> float:
        """Return log E, less where the arms vary much; of bets side by side, that of their mean."""
        found = [float(one.log_e) for one in self.evidence.values()]
        log_e = float(np.logaddexp.reduce(found)) - math.log(len(found)) if found else 0.0
        return float(dispersion.cautious(np.asarray(log_e), self.spread)) if self.spread else log_e

    def _take(self, judged: Judged, look: Look) -> None:
        read = {role: self._gained(role, series, look) for role, series in judged.selected.items()}
        if found_wrong := [wrong for _, wrong in read.values() if wrong]:
            raise TroubleError(found_wrong[0])
        gained = {role: rows for role, (rows, _) in read.items()}
        split = gained.pop(ASSIGNMENTS, [])
        required = "outcomes" if "outcomes" in gained else "total"
        seconds = 0.0 if self.looked_at is None else max(0.0, look.at - self.looked_at)
        self.looked_at = look.at
        for rows in gained.values():
            self.targets |= {target_of(labels): look.at for labels, _ in rows}
        self.targets = {name: at for name, at in self.targets.items() if at >= look.at - KEPT_SECONDS}
        self._see_arms(judged, gained[required], look.at)
        found = outcomes.categories(judged, gained[required], self._categories(judged) if self.edges else ())
        self.edges = found[:-1]
        self._judge_split(judged, split, seconds)
        self._judge(judged, self._ripe(judged, outcomes.counts(judged, gained, found), look.at), seconds)
        self._follow_minutes(judged, look.at)
        self.peak = max(self.peak, self._now())

    def _categories(self, judged: Judged) -> list[float]:
        return [*self.edges, 1.0 if judged.kind == "rate" else math.inf]

    def _gained(self, role: str, series: Series, look: Look) -> tuple[list[Gained], str]:
        """Return what a role's counter gained, and what is wrong with it; its values are remembered."""
        samples = look.samples.get(str(series), [])
        if not samples and role not in ("bad", "good"):
            return [], f"no series of {series.name}"
        try:
            check(samples)
        except CounterError as error:
            return [], f"{series.name} {error}"

        def started(labels: Mapping[str, str]) -> float | None:
            return _started(series, labels, look.starts)

        found, fell = self.counters.setdefault(role, Counters()).gained(
            samples, look.at, self.targets, started
        )
        return found, f"{series.name} {fell}, and no start of it says that it began anew" if fell else ""

    def _see_arms(self, judged: Judged, rows: Sequence[Gained], at: float) -> None:
        there = {judged.arm(labels) for labels, _ in rows}
        self.arms = self.arms or [at, at]
        self.arms = [at if arm in there else last for arm, last in enumerate(self.arms)]

    def _ripe(self, judged: Judged, found: Counts, at: float) -> Counts:
        """Return the outcomes of shares that were assigned long enough ago for late outcomes to be there."""
        shares = {share for some in found.values() for share, both in some.items() if both.any()}
        for share in shares:
            self.began.setdefault(share, at)
        return {
            each: {
                share: both
                for share, both in some.items()
                if at - self.began.get(share, at) >= judged.horizon
            }
            for each, some in found.items()
        }

    def _judge(self, judged: Judged, found: Counts, seconds: float) -> None:
        bet = judged.bet(self._categories(judged))
        for each in {*self.evidence, *found}:
            shares = found.get(each, {})
            state = self.evidence.get(each) or betting.begin(bet)
            self.evidence[each] = betting.update(bet, state, _increments(shares, bet), seconds)
            for share, both in shares.items():
                self.totals[share] = self.totals.get(share, 0.0) + both
                if not judged.each:
                    self.minute[share] = self.minute.get(share, 0.0) + both

    def _judge_split(self, judged: Judged, rows: Sequence[Gained], seconds: float) -> None:
        if judged.assigned is None:
            return
        bet = bets.split()
        shares = outcomes.assignments(judged, rows)
        self.split = betting.update(bet, self.split or betting.begin(bet), _increments(shares, bet), seconds)

    def _follow_minutes(self, judged: Judged, at: float) -> None:
        if judged.arms is None or judged.each:
            return
        values = np.asarray(judged.values(self._categories(judged)))
        if self.spread is None or self.spread.seen.shape[-1] != len(values):
            self.spread = dispersion.begin(len(values))
        self.minute_began = at if self.minute_began is None else self.minute_began
        if at - self.minute_began < _MINUTE or not self.minute:
            return
        old, new = (np.stack([both[arm] for both in self.minute.values()]) for arm in (0, 1))
        self.spread = dispersion.add(self.spread, new, old, values)
        self.minute, self.minute_began = {}, at

    def _begin_again(self, judged: Judged) -> None:
        """Forget the evidence of a hold that ended, and keep what was learned of the old variant."""
        if judged.sticky or not self.evidence:
            return
        bet = judged.bet(self._categories(judged))
        self.evidence = {each: betting.begin(bet, learned=one.learned) for each, one in self.evidence.items()}

    def _require_arms(self, judged: Judged, at: float) -> None:
        for arm, name in enumerate(_ARM_NAMES) if judged.arms else ():
            if at - self.arms[arm] >= ARM_GONE_SECONDS:
                raise TroubleError(f"no series of {name}")

    def _require_split(self) -> None:
        if self.split is not None and float(self.split.peak) >= -math.log(SPLIT_ALPHA):
            raise TroubleError("the variants were not split as declared")

    def _require_whole(self, judged: Judged, look: Look) -> None:
        for series in judged.selected.values():
            events, reasons = look.left_out.get(series.name, (0.0, {}))
            before = self.left_out.setdefault(series.name, (events, sum(reasons.values())))
            events, left = events - before[0], sum(reasons.values()) - before[1]
            if events >= _ENOUGH and left > _MOST_LEFT_OUT * events:
                reason = max(reasons, key=lambda one: reasons[one])
                raise TroubleError(f"over 1 % of the events of {series.name} are left out: {reason}")

    def _require_single(self, judged: Judged) -> None:
        if self.spread and judged.times is None and dispersion.clustered(self.spread):
            raise TroubleError("outcomes come in clusters: count each unit once, or give `times`")


def _increments(shares: Mapping[str, Array], bet: Bet) -> Increments:
    if not shares:
        return Increments(np.zeros((0, bet.categories)), np.zeros((0, bet.categories)), np.zeros(0))
    old, new = (np.stack([both[arm] for both in shares.values()]) for arm in (0, 1))
    return Increments(new, old, np.array([outcomes.share(text) for text in shares]))


def _started(series: Series, labels: Mapping[str, str], starts: Sequence[Sample]) -> float | None:
    """Return when a series began: by its `…_created`, its exporter's word, or the start of its process."""
    own = {name: value for name, value in labels.items() if name not in ("__name__", "le")}
    target = target_of(labels)
    found: dict[str, float] = {}
    for sample in starts:
        name = sample.labels.get("__name__", "")
        if (
            name == created(series.name)
            and {key: value for key, value in sample.labels.items() if key != "__name__"} == own
        ):
            return sample.value
        if target_of(sample.labels) == target:
            found[name] = sample.value
    return found.get(START.name, found.get(PROCESS_START))
