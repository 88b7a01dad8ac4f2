"""How a stage ends by the criteria of its file, whenever its hold has passed: in PASS, EXTEND or FAIL."""

from __future__ import annotations

from collections.abc import Sequence

from rollguard.control import transitions
from rollguard.control.advance import Wait
from rollguard.monitoring.observation import Observation, failures_of
from rollguard.spec.rollout import Rollout
from rollguard.state import CLOCK, State, Transition


def fail(
    rollout: Rollout, state: State, seen: Observation | None, *, now: float, scale: float
) -> Transition | None:
    """Return the end of a run, or the step back, of a stage that fails; None where it does not.

    Args:
        rollout: its file; one in mode observe goes nowhere.
        state: where it is.
        seen: what Prometheus showed of it.
        now: Unix seconds.
        scale: what durations are divided by.
    """
    if seen is None or rollout.observed or not _due(rollout, state, seen, now, scale):
        return None
    failed = [item for item in seen.failures if item.holds]
    if not failed:
        return None
    to = next(item.to for item in failures_of(rollout, state.stage) if item.name == failed[0].name)
    why = f"FAIL: {state.stage}, by {', '.join(item.name for item in failed)}"
    evidence = {"criteria": [item.evidence() for item in failed]}
    return transitions.rollback(rollout, state, actor=CLOCK, reason=why, to=to, evidence=evidence)


def end(
    rollout: Rollout, state: State, seen: Observation, waits: Sequence[Wait], *, now: float, scale: float
) -> list[Transition]:
    """Return the promotion of a stage that passes, or that it goes on where a verdict is due; else nothing.

    Arguments as for `fail`; waits: what keeps it from passing.
    """
    if not waits:
        return [transitions.promote(rollout, state, actor=CLOCK, evidence=seen.evidence())]
    if not _due(rollout, state, seen, now, scale):
        return []
    why = f"EXTEND: {state.stage} waits for {', '.join(wait.what for wait in waits)}"
    return [transitions.extend(state, why, seen.evidence())]


def left(rollout: Rollout, state: State, now: float, scale: float) -> float | None:
    """Return how long it is until the stage's next verdict, on the rollout's clock; None where it has none.

    The time in which guards hold the stage counts. Arguments as for `fail`.
    """
    stage = rollout.stage(state.stage)
    if stage is None or not stage.hold or not failures_of(rollout, stage.name):
        return None
    passed = sum(until - begin for begin, until in rollout.counted([(state.entered_at, now)], scale))
    return (state.extended + 1) * stage.hold / scale - passed


def _due(rollout: Rollout, state: State, seen: Observation, now: float, scale: float) -> bool:
    seconds = left(rollout, state, now, scale)
    return seconds is not None and seconds <= 0 and seen.newest == state.newest
