"""Ask Prometheus about a rollout: its rules, guards, criteria and evaluated time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from rollguard.conventions import ENABLED, MIN_INTERVAL_SECONDS, PLATFORM
from rollguard.monitoring import proofs, queries
from rollguard.monitoring.observation import (
    CriterionObservation,
    GuardObservation,
    Observation,
    Rules,
    criteria_of,
    failures_of,
    guards_of,
    not_ready,
    problems,
    rules_of,
    state_of,
)
from rollguard.monitoring.prometheus import (
    Prometheus,
    QueryRefusedError,
    Rule,
    SeveralSeriesError,
)
from rollguard.spec.calendars import Window
from rollguard.spec.falsifiable import criterion_fault
from rollguard.spec.guards import SEVERAL, NoDataGuard, clear_for
from rollguard.spec.needed_series import reads
from rollguard.spec.platform import acting_guards
from rollguard.spec.rollout import Criterion, Failure, Guard, Rollout
from rollguard.spec.series import Series
from rollguard.spec.templates import template_of
from rollguard.state import State

_LOOKBACK_INTERVALS = 4
"""For so many intervals a sample counts, as failed scrapes take none away."""


_NO_DATA = "has no data"


_SHARE_STEPS = 60


_CLEAR_STEPS = 240
"""An hour of a guard's data moment by moment; of longer times less closely."""


_MOST_STEPS = 20_000
"""Of the first look at a stage after a restart: three days, moment by moment; of longer ones less closely."""


class Observer:
    """Asks Prometheus about rollouts.

    Args:
        prometheus: the client.
        scale: what intervals are divided by.
        wall: Unix seconds.
    """

    def __init__(self, prometheus: Prometheus, scale: float, wall: Callable[[], float]) -> None:
        self._prometheus = prometheus
        self._scale = scale
        self._wall = wall
        self._failures: dict[str, tuple[int, dict[str, tuple[float, float]]]] = {}
        """By rollout its entry, and by criterion up to when it was asked and when it last failed."""
        self._silent: dict[str, dict[str, float]] = {}
        """By rollout and guard, since when it could not judge at any look."""
        self._passed: dict[str, tuple[int, dict[tuple[float, float], float]]] = {}
        """By rollout its entry, and how much of times that are past was evaluated."""

    def interval(self, rollout: Rollout) -> float:
        """Return the seconds between two evaluations of a rollout's rules."""
        return max(MIN_INTERVAL_SECONDS, rollout.scrape.interval / self._scale)

    def rules(self, rollout: Rollout, loaded: Sequence[Rule] | None = None) -> Rules:
        """Return a rollout's rules as they are loaded; raises PrometheusError."""
        found = self._prometheus.rules() if loaded is None else loaded
        return rules_of(rollout.name, found, self._prometheus.value(queries.rules_age(rollout.name)))

    def check_rules_loaded(
        self, rollout: Rollout, positions: Sequence[str], loaded: Sequence[Rule] | None = None
    ) -> list[str]:
        """Return what keeps the guards from watching a rollout at some positions; raises PrometheusError."""
        rules = self.rules(rollout, loaded)
        found = [*problems(rollout, rules, self.interval(rollout))]
        for position in positions:
            found += [f"{text} in {position}" for text in not_ready(rollout, rules, position, ("rollback",))]
        return found

    def observe(self, rollout: Rollout, state: State, loaded: Sequence[Rule]) -> Observation:
        """Return what Prometheus shows of a rollout whose run is under way.

        Raises:
            PrometheusError: it does not answer.
        """
        now, interval = self._wall(), self.interval(rollout)
        rules = self.rules(rollout, loaded)
        criteria = tuple(
            self._criterion(rollout, state, item, now) for item in criteria_of(rollout, state.position)
        )
        following = rollout.stage_after(state.stage or "")
        ahead = following.name if following else ENABLED
        return Observation(
            at=now,
            newest=state.newest,
            problems=tuple(problems(rollout, rules, interval)),
            guards=self._silences(
                rollout,
                {
                    guard.name: self._guard(rollout, state, guard, rules, now)
                    for guard in guards_of(rollout, state.position)
                },
                now,
            ),
            criteria=criteria,
            failures=tuple(self._judged(rollout, item) for item in failures_of(rollout, state.stage)),
            clock_seconds=self._clock(rollout, state, criteria, now),
            ahead=tuple(not_ready(rollout, rules, ahead, ("rollback",))) if state.stage else (),
        )

    def _clock(
        self, rollout: Rollout, state: State, criteria: Sequence[CriterionObservation], now: float
    ) -> float:
        """Return what has passed of the hold, in time that was evaluated, since all criteria hold."""
        broken = max([item.failed_at for item in criteria if item.failed_at is not None], default=0.0)
        counted = rollout.counted(state.counted(now), self._scale)
        spans = [(max(begin, broken), end) for begin, end in counted if end > max(begin, broken)]
        return sum(self._evaluated(rollout, state, begin, end, now) for begin, end in spans)

    def _evaluated(self, rollout: Rollout, state: State, begin: float, end: float, now: float) -> float:
        """Return how much of a time was evaluated, seconds; of what is past, Prometheus is asked once."""
        seq, known = self._passed.get(rollout.name, (0, {}))
        known = known if seq == state.seq else {}
        if (begin, end) in known:
            return known[begin, end]
        counted = self._prometheus.value(queries.evaluated_samples(rollout.name, end - begin, now - end))
        seconds = min(end - begin, (counted or 0.0) * self.interval(rollout))
        if end < now - self.interval(rollout):
            self._passed[rollout.name] = (state.seq, {**known, (begin, end): seconds})
        return seconds

    def _criterion(
        self, rollout: Rollout, state: State, criterion: Criterion, now: float
    ) -> CriterionObservation:
        seen = self._judged(rollout, criterion)
        if seen.error:
            return seen
        if criterion.when == "throughout":
            counts = state.clock_until is None and not self._closed(rollout.clock, now)
            fails = counts and not seen.holds
            failed_at = now if fails else self._failed_at(rollout, state, seen.name, seen.query, now)
            seen = replace(seen, failed_at=failed_at)
        if criterion.not_worse is None or seen.holds:
            return seen
        missing = proofs.missing(self._prometheus, rollout.name, criterion, self._scale)
        return replace(seen, missing=missing)

    def _judged(self, rollout: Rollout, item: Criterion | Failure) -> CriterionObservation:
        """Return whether an expression holds now."""
        query = item.expr
        try:
            query = queries.within(query, rollout.name)
            if fault := criterion_fault(item.expr):
                return CriterionObservation(item.name, query, error=f"always holds: {fault.why}")
            value = self._prometheus.value(queries.measured(query))
            holds = self._prometheus.value(query) is not None
        except (SeveralSeriesError, queries.QueryError, QueryRefusedError) as error:
            return CriterionObservation(item.name, query, error=str(error).partition("\n")[0])
        return CriterionObservation(item.name, query, value, holds)

    def _failed_at(self, rollout: Rollout, state: State, name: str, query: str, now: float) -> float:
        """Return when a criterion last failed while the clock counted; asks only about what is new."""
        interval = self.interval(rollout)
        seq, known = self._failures.get(rollout.name, (0, {}))
        known = known if seq == state.seq else {}
        asked_until, failed_at = known.get(name, (state.entered_at, 0.0))
        for begin, end in rollout.counted(state.counted(now), self._scale):
            if end <= asked_until:
                continue
            since = end - max(begin, asked_until) + interval
            step = max(interval, since / _MOST_STEPS)
            asked = queries.last_failure(query, rollout.name, since, step, now - end)
            found = self._prometheus.value(asked) or 0.0
            failed_at = max(failed_at, found if found > begin else 0.0)
            asked_until = end
        self._failures[rollout.name] = (state.seq, {**known, name: (asked_until, failed_at)})
        return failed_at

    def _guard(
        self, rollout: Rollout, state: State, guard: Guard, rules: Rules, now: float
    ) -> GuardObservation:
        if self._closed(rollout.clock_of(guard), now):
            return GuardObservation("closed")
        own, interval = rules.guards.get(guard.name, ()), self.interval(rollout)
        found, why = state_of(own)
        try:
            judging, waiting = _asked(rollout, guard, own, _LOOKBACK_INTERVALS * interval)
        except queries.QueryError as error:
            why = why or f"cannot be read: {error}"
        if why:
            return GuardObservation("without data", why)
        share = self._share(judging, now - state.entered_at, interval)
        if found != "inactive":
            return GuardObservation("breached", "fires" if found == "firing" else "is pending", share)
        if _misses(rollout, guard, rules):
            return GuardObservation("without data", _NO_DATA, share)
        if all(self._prometheus.query(query) for query in judging):
            holds = guard.name in state.held
            clear = self._clear_seconds(rollout, guard, judging, now) if holds else None
            return GuardObservation("armed", "", share, clear_seconds=clear)
        waits = any(self._prometheus.query(query) for query in waiting)
        return (
            GuardObservation("waiting", "", share)
            if waits
            else GuardObservation("without data", _NO_DATA, share)
        )

    def _closed(self, clock: Window | None, now: float) -> bool:
        return clock is not None and self._scale == 1.0 and not clock.open_at(now)

    def _clear_seconds(self, rollout: Rollout, guard: Guard, judging: Sequence[str], now: float) -> float:
        """Return for how long a guard was evaluated, was false and could judge; as far as its hold asks."""
        interval, name = self.interval(rollout), rollout.name
        # Twice as far as needed: where evaluations are left out, the rest must be enough.
        reach = 2 * clear_for(rollout, guard) / self._scale + interval
        fine, coarse = (max(interval, reach / steps) for steps in (_MOST_STEPS, _CLEAR_STEPS))
        troubles = [
            queries.last_alert(name, guard.name, reach, fine),
            *(queries.last_failure(query, name, reach, coarse) for query in judging),
        ]
        since = max(now - reach, *(self._prometheus.value(query) or 0.0 for query in troubles))
        evaluated = self._prometheus.value(queries.evaluated_samples(name, now - since)) or 0.0
        return max(0.0, min(now - since, evaluated * interval))

    def _silences(
        self, rollout: Rollout, guards: Mapping[str, GuardObservation], now: float
    ) -> Mapping[str, GuardObservation]:
        """Return what guards can say, and for how long those have been silent that cannot judge."""
        known = self._silent.get(rollout.name, {})
        unable = [
            name for name, seen in guards.items() if seen.why == _NO_DATA or seen.condition == "waiting"
        ]
        since = {name: known.get(name, now) for name in unable}
        self._silent[rollout.name] = since
        return {
            name: replace(seen, silent_seconds=now - since[name]) if name in since else seen
            for name, seen in guards.items()
        }

    def _share(self, judging: Sequence[str], seconds: float, interval: float) -> float | None:
        if not judging or seconds <= interval:
            return None
        step = max(interval, seconds / _SHARE_STEPS)
        counted = [self._prometheus.value(queries.share(query, seconds, step)) or 0.0 for query in judging]
        return round(min(1.0, min(counted) * step / seconds), 3)


def _asked(
    rollout: Rollout, guard: Guard, own: Sequence[Rule], seconds: float
) -> tuple[list[str], list[str]]:
    """Return the queries that all yield where a guard can judge, and of which one does where it waits."""
    ours = guard.use != PLATFORM
    if ours and template_of(guard).judges_absence:
        return [], []
    found = [read for _, condition in reads(guard) for read in condition] if ours else []

    def selector(series: str) -> str:
        return str(Series.parse(series).within(rollout.name))

    optional = [selector(read.series) for read in found if read.presence == "optional"]
    judging = [query for rule in own if (query := queries.armed(rule.query, optional))]
    waiting = [query for rule in own if (query := queries.waiting(rule.query))]
    waiting += [
        queries.scarce(selector(read.beside), selector(read.series), seconds)
        for read in found
        if read.presence == "scarce"
    ]
    return judging, waiting


def _misses(rollout: Rollout, guard: Guard, rules: Rules) -> bool:
    """Return whether a guard that sees this one's data go says so."""
    return any(
        state_of(rules.guards.get(other.name, ()))[0] != "inactive"
        for other in acting_guards(rollout)
        if isinstance(other, NoDataGuard) and guard.name in other.watched and other.kind != SEVERAL
    )
