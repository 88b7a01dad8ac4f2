"""Whole rollouts through the real decision: asked where a guard, its data or the clock changes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from rollguard.control import advance, transitions, verdicts
from rollguard.control.decide import cascade, decide
from rollguard.conventions import ENABLED
from rollguard.exporters.measures.betting import Array
from rollguard.monitoring.alerts import GuardAlert
from rollguard.monitoring.observation import (
    CriterionObservation,
    GuardObservation,
    Observation,
    guards_of,
)
from rollguard.simulation.criteria import Condition, condition
from rollguard.simulation.laws import Moment
from rollguard.simulation.reads import NoLawError, Traffic
from rollguard.simulation.runs import Run, Scenario
from rollguard.simulation.watching import Watch, Watches
from rollguard.simulation.windows import Truth
from rollguard.spec.guards import clear_for
from rollguard.spec.rollout import Criterion, Failure, Rollout
from rollguard.state import State, Transition

BEGIN = 1_799_049_600.0
"""When simulated runs start: a Monday, 08:00 UTC, in Unix seconds."""

LOOK_SECONDS = 60.0
_BY_ROW = (
    "_position", "_entered", "_held", "_due", "_wake", "_serving", "_excess", "_last", "_worse", "_begins",
)  # fmt: skip
_COMPACT = 0.75
"""Once fewer of the rollouts are left, the others are forgotten."""


def look_parts(rollout: Rollout) -> tuple[float, int]:
    """Return the seconds between two samples of a rollout, and how many there are in a look."""
    step = rollout.scrape.interval
    return step, max(1, round(LOOK_SECONDS / step))


class Play:
    """Rollouts of one file, side by side.

    Args:
        rollout: the file.
        scenarios: of each rollout, how its release is.
        seed: of chance.
        labelled: counters that say at which percent an outcome was assigned.
        enabled: whether they are enabled from the start, as what another requires.
        falls: of rollouts that are required, by name: when each falls, seconds, infinite for never.
    """

    def __init__(
        self,
        rollout: Rollout,
        scenarios: Sequence[Scenario],
        seed: int,
        labelled: frozenset[str] = frozenset(),
        *,
        enabled: bool = False,
        falls: Mapping[str, Array] | None = None,
    ) -> None:
        self._rollout, rows = rollout, len(scenarios)
        self._worse = np.array([one.worse for one in scenarios])
        self._begins = np.array([one.begins for one in scenarios])
        step, parts = look_parts(rollout)
        self._seconds, self._parts = step * parts, parts
        rng = np.random.default_rng(seed)
        self._traffic = Traffic(rollout, rows, rng, step, parts)
        watches = Watches(rollout, self._traffic, labelled)
        self._watches = watches.watches
        self.not_simulated = watches.not_simulated
        self._criteria: Sequence[Criterion | Failure] = (*rollout.advance, *rollout.fail)
        self._conditions = dict(self._simulated(watches))
        self._acting = [watch for watch in self._watches if watch.guard.action != "notify"]
        self._keys = iter(rng.integers(1, 2**63, 4096, dtype=np.uint64))
        self._positions = [*(stage.name for stage in rollout.stages), ENABLED]
        self._shares = np.array([*(stage.share / 100 for stage in rollout.stages), 1.0])
        self._healthy = {
            name: {
                guard.name: GuardObservation("armed", clear_seconds=math.inf)
                for guard in guards_of(rollout, name)
            }
            for name in self._positions
        }
        self._required = {name: State(name, status="ENABLED") for name in rollout.requires}
        self._enabled, self._falls = enabled, dict(falls or {})
        self._bits = [[next(self._keys) for _ in range(4)] for _ in self._acting]
        self._criterion_bits = [next(self._keys) for _ in self._conditions]
        self._calendar_bit = next(self._keys)
        self.runs: list[Run] = [Run(State(rollout.name)) for _ in scenarios]
        self._rows: list[int] = list(range(rows))
        self._lay_out(rows)

    def _lay_out(self, rows: int) -> None:
        """Note of each rollout that it has not begun."""
        self._position = np.zeros(rows, dtype=np.int64)
        self._entered = np.ones(rows, dtype=np.bool_)
        self._held, self._due = np.zeros(rows, dtype=np.bool_), np.zeros(rows, dtype=np.bool_)
        self._alive = np.ones(rows, dtype=np.bool_)
        self._wake = np.zeros(rows)
        self._serving = np.full(rows, np.inf)
        self._excess = np.zeros(rows)
        self._last = np.zeros(rows, dtype=np.uint64)
        self._failed: dict[int, Array] = {
            number: np.zeros(rows)
            for number, one in enumerate(self._rollout.advance)
            if one.when == "throughout" and number in self._conditions
        }

    def play(self, seconds: float, progress: Callable[[float], None] = lambda _: None) -> list[Run]:
        """Play for so long, and return what became of each rollout."""
        for row in range(len(self._rows)):
            self._begin(row)
        looks = math.ceil(seconds / self._seconds)
        for look in range(1, looks + 1):
            if not self._alive.any():
                break
            self._look(look * self._seconds)
            if look % 10 == 0:
                progress(look / looks)
        for row, number in enumerate(self._rows):
            self._close(row, number, looks * self._seconds)
        return self.runs

    def _begin(self, row: int) -> None:
        run = self.runs[row]
        if self._enabled:
            run.state = State(self._rollout.name, status="ENABLED", run=1)
            self._position[row], self._wake[row] = len(self._positions) - 1, math.inf
        else:
            self._apply(row, transitions.start(self._rollout, run.state, actor="simulate"), 0.0)

    def _simulated(self, watches: Watches) -> Iterator[tuple[int, Condition]]:
        for number, criterion in enumerate(self._criteria):
            try:
                yield number, condition(criterion, self._traffic, watches.bets)
            except NoLawError as error:
                self.not_simulated[criterion.name] = str(error)

    def _look(self, at: float) -> None:
        """Play up to a moment, seconds since the start."""
        share = self._shares[self._position]
        starts = (share > 0) & np.isinf(self._serving) & self._alive
        self._serving[starts] = at - self._seconds
        worse = np.where(at > self._serving + self._begins, self._worse, 0.0)
        moment = Moment(at, self._seconds, self._parts, share, worse, self._entered)
        self._traffic.draw(moment)
        self._excess += np.where(self._alive, self._traffic.excess(moment), 0.0)
        now = BEGIN + at
        for watch in self._watches:
            watch.look(moment, self._position, now)
            if watch.guard.action == "notify" and watch.began.any():
                for row in np.flatnonzero(watch.began & self._alive):
                    self._run(int(row)).messages += 1
        for one in self._conditions.values():
            one.look()
        self._note_failures(at)
        self._entered = np.zeros(len(self._rows), dtype=np.bool_)
        sign = self._sign(at, now)
        for row in np.flatnonzero(((sign != self._last) | (at >= self._wake)) & self._alive):
            self._decide(int(row), at)
        for name, falls in self._falls.items():
            for row in np.flatnonzero((falls <= at) & self._alive):
                self._fall_with(int(row), name, at)
        self._last = sign
        if self._alive.mean() < _COMPACT:
            self._compact()

    def _note_failures(self, at: float) -> None:
        for number, failed in self._failed.items():
            counts = np.flatnonzero(self._alive & ~self._held & self._in_stages(self._criteria[number]))
            failed[counts[~self._conditions[number].holds(counts)]] = at

    def _in_stages(self, criterion: Criterion | Failure) -> Truth:
        named = [criterion.stages is None or name in criterion.stages for name in self._positions]
        return np.asarray(np.array([*named[:-1], False])[self._position])

    def _sign(self, at: float, now: float) -> npt.NDArray[np.uint64]:
        """Return a number for each rollout that changes with whatever a decision may rest on."""
        sign = np.zeros(len(self._rows), dtype=np.uint64)
        nothing = np.uint64(0)
        for watch, bits in zip(self._acting, self._bits, strict=True):
            flags: list[Truth] = [watch.fired, self._due & watch.pending, self._due & ~watch.judged]
            if watch.guard.action == "hold":
                flags.append(self._held & watch.is_clear(at))
            for flag, bit in zip(flags, bits, strict=False):
                if flag.any():
                    sign ^= np.where(flag, bit, nothing)
        due = np.flatnonzero(self._due & ~self._held & self._alive)
        for (number, one), bit in zip(self._conditions.items(), self._criterion_bits, strict=True):
            rows = due[self._in_stages(self._criteria[number])[due]]
            if len(rows):
                sign[rows] ^= np.where(one.holds(rows), bit, nothing)
        windows = (self._rollout.clock, self._rollout.advance_in)
        for number, window in enumerate(windows):
            if window is not None and window.open_at(now):
                sign ^= self._calendar_bit >> np.uint64(number)
        return sign

    def _decide(self, row: int, at: float) -> None:
        """Ask for decisions until there is none."""
        now = BEGIN + at
        alerts = [
            GuardAlert(self._rollout.name, watch.guard.name, True, now, "", {}, {})
            for watch in self._watches
            if watch.fired[row]
        ]
        for _ in range(10):
            state = self._run(row).state
            if not state.running:
                return
            seen = self._seen(row, state, at)
            found = decide(
                self._rollout, state, alerts, now=now, seen=seen, states=self._required, blind=False
            )
            if not found:
                break
            for one in found:
                self._apply(row, one, at)
        self._plan(row, at)

    def _fall_with(self, row: int, name: str, at: float) -> None:
        """Let a rollout fall with one that it requires."""
        fall = Transition(name, "rollback", 1, "ROLLBACK", reason="a guard of its own")
        mine, states = {self._rollout.name: self._rollout}, {self._rollout.name: self._run(row).state}
        for one in cascade([fall], mine, states)[1:]:
            self._apply(row, one, at)

    def _seen(self, row: int, state: State, at: float) -> Observation:
        now = BEGIN + at
        guards = dict(self._healthy[state.position])
        for watch in self._acting:
            if watch.guard.name in guards:
                guards[watch.guard.name] = watch.seen(row, at)
        found = [
            (number, self._criterion(row, number, state)) for number in self._criteria_of(state.position)
        ]
        criteria = tuple(one for number, one in found if number < len(self._rollout.advance))
        broken = max((one.failed_at or 0.0 for one in criteria), default=0.0)
        counted = self._rollout.counted(state.counted(now), 1.0)
        passed = sum(end - max(begin, broken) for begin, end in counted if end > max(begin, broken))
        return Observation(
            at=now,
            newest=state.newest,
            guards=guards,
            criteria=criteria,
            failures=tuple(one for number, one in found if number >= len(self._rollout.advance)),
            clock_seconds=passed,
            ahead=tuple(self._ahead(row, state)),
        )

    def _criteria_of(self, position: str) -> Iterator[int]:
        for number in self._conditions:
            stages = self._criteria[number].stages
            if position != ENABLED and (stages is None or position in stages):
                yield number

    def _criterion(self, row: int, number: int, state: State) -> CriterionObservation:
        criterion = self._criteria[number]
        holds = bool(self._conditions[number].holds(np.array([row]))[0])
        failed = self._failed.get(number)
        failed_at = BEGIN + float(failed[row]) if failed is not None and failed[row] else None
        if failed_at is not None and failed_at <= state.entered_at:
            failed_at = None
        return CriterionObservation(criterion.name, criterion.expr, 0.0, holds, failed_at=failed_at)

    def _ahead(self, row: int, state: State) -> Iterator[str]:
        following = self._rollout.stage_after(state.stage or "")
        name = following.name if following else ENABLED
        for watch in self._acting:
            if watch.guard.action == "rollback" and watch.pending[row] and watch.guard.armed_in(name):
                yield f"{watch.guard.name} fires in {name}"

    def _apply(self, row: int, transition: Transition, at: float) -> None:
        """Enter a decision, and follow where it leads."""
        run = self._run(row)
        before = run.state
        run.enter(transition, BEGIN + at)
        self._follow(row, run, before, transition, at)

    def _follow(self, row: int, run: Run, before: State, transition: Transition, at: float) -> None:
        state = run.state
        if state.held and not before.held:
            run.holds += 1
        if before.held and not state.held:
            run.held_seconds += BEGIN + at - max(before.hold_changed.values())
        self._held[row] = bool(state.held)
        if transition.kind == "release":
            self._release(row, transition)
        if transition.kind in ("rollback", "step_back"):
            run.rolled_back, run.guard = at, transition.guard or transition.reason
            run.state = State(state.rollout, status="ROLLBACK")  # a step back waits for people, too
            self._alive[row] = False
        elif transition.kind in ("start", "promote"):
            self._move(row, run, at)

    def _move(self, row: int, run: Run, at: float) -> None:
        state = run.state
        self._position[row] = self._positions.index(state.position)
        self._entered[row], self._due[row] = True, False
        if state.position == ENABLED:
            run.enabled = at
        elif self._position[row] == len(self._positions) - 2:
            run.full = at
        following = self._rollout.stage_after(state.stage or "")
        if following is not None and following.approve:  # a person who is always there
            self._apply(row, transitions.approve(self._rollout, state, actor="simulate"), at)

    def _release(self, row: int, transition: Transition) -> None:
        alone = np.zeros(len(self._rows), dtype=np.bool_)
        alone[row] = True
        for watch in self._acting:
            if watch.guard.name in transition.evidence["guards"]:
                watch.begin_again(alone)

    def _plan(self, row: int, at: float) -> None:
        """Note when the clock alone may change what is decided."""
        state, now = self._run(row).state, BEGIN + at
        if not state.running or state.stage is None:
            self._wake[row], self._due[row] = math.inf, False
            return
        stage = self._rollout.stage(state.stage)
        left = advance.hold_left(self._rollout, state, self._seen(row, state, at), now, 1.0)
        times = [] if left == 0 or state.held else [at + left]
        if stage and stage.deadline and not state.overdue:
            times.append(state.entered_at + stage.deadline.after - BEGIN)
        if (verdict := verdicts.left(self._rollout, state, now, 1.0)) is not None:
            times.append(at + verdict)
        for name in state.held:
            guard = self._rollout.guard(name)
            if guard is not None:
                times.append(state.hold_changed.get(name, 0.0) + clear_for(self._rollout, guard) - BEGIN)
        self._wake[row] = min((time for time in times if time > at), default=math.inf)
        self._due[row] = left == 0

    def _run(self, row: int) -> Run:
        return self.runs[self._rows[row]]

    def _close(self, row: int, number: int, at: float) -> None:
        """Note what was counted of a rollout, which is forgotten, or over."""
        run = self.runs[number]
        run.excess = float(self._excess[row])
        run.serving = float(self._serving[row])
        if run.state.held:
            run.held_seconds += BEGIN + at - max(run.state.hold_changed.values())

    def _compact(self) -> None:
        keep = self._alive
        for row in np.flatnonzero(~keep):
            self._close(int(row), self._rows[row], 0.0)
        self._rows = [number for number, kept in zip(self._rows, keep, strict=True) if kept]
        self._traffic.keep(keep)
        parts: Sequence[Watch | Condition] = (*self._watches, *self._conditions.values())
        for one in parts:
            one.keep(keep)
        for name in _BY_ROW:
            setattr(self, name, getattr(self, name)[keep])
        self._failed = {number: failed[keep] for number, failed in self._failed.items()}
        self._falls = {name: falls[keep] for name, falls in self._falls.items()}
        self._alive = self._alive[keep]
