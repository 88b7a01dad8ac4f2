"""A drill: a harmless alert takes the way of a rollback, from Prometheus to a flag that nobody asks for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rollguard.control.transitions import RefusedError, here
from rollguard.conventions import DRILL
from rollguard.durations import render
from rollguard.monitoring.alerts import GuardAlert
from rollguard.state import State, Transition

LIMIT_SECONDS = 600.0
"""After which a drill is over, though nobody said so."""


def under_way(state: State, now: float) -> bool:
    """Return whether the alert is to fire: a drill was asked for, and is not over."""
    return state.drill is not None and now - state.drill.asked_at < LIMIT_SECONDS


def ask(state: State, firing: Iterable[GuardAlert], now: float, *, actor: str, reason: str) -> Transition:
    """Return the begin of a drill, in whatever state the rollout is; it stays there.

    Raises:
        RefusedError: the last one is under way, or its alert still fires.
    """
    if state.drill is not None and under_way(state, now):
        left = render(round(state.drill.asked_at + LIMIT_SECONDS - now) or 1)
        raise RefusedError(f"{state.rollout}: a drill is under way; it ends by itself in {left}.")
    if _alert(firing):
        raise RefusedError(
            f"{state.rollout}: the alert of the last drill still fires; try again in a minute."
        )
    return here(state, "drill", actor=actor, reason=reason)


def flip(
    state: State, firing: Iterable[GuardAlert], now: float, received_at: float | None
) -> list[Transition]:
    """Return the flip of the drill's flag, once, as soon as the alert is known to fire.

    Args:
        state: of the rollout.
        firing: alerts of the rollout.
        now: Unix seconds.
        received_at: when the notification came, Unix seconds; None where a poll found the alert.
    """
    alert = _alert(firing)
    if alert is None or not under_way(state, now) or (state.drill and state.drill.flipped_at is not None):
        return []
    evidence = {
        "alert": dict(alert.labels),
        "starts_at": alert.starts_at,
        "received_at": now if received_at is None else received_at,
        "found_by": "poll" if received_at is None else "notification",
    }
    return [here(state, "drill_flip", actor="guard", reason=alert.guard, evidence=evidence)]


def end(state: State, *, actor: str, reason: str, seen_seconds: float | None) -> Transition:
    """Return the end of a drill, with how long each of its steps took.

    Args:
        state: of the rollout.
        actor: who drilled.
        reason: why the flag was not seen; may be empty.
        seen_seconds: after the begin, when a client saw the flag flipped; None where it gave up.
    Raises:
        RefusedError: no drill is under way.
    """
    drill = state.drill
    if drill is None:
        raise RefusedError(f"{state.rollout}: no drill is under way.")
    if drill.flipped_at is None:
        result, steps = "failed: no alert came", dict[str, float]()
    else:
        result = "failed: the alert came, but nobody saw the flag flipped"
        steps = {
            "rule fires": drill.starts_at - drill.asked_at,
            "Alertmanager delivers": drill.received_at - drill.starts_at,
        }
    passed = drill.flipped_at is not None and seen_seconds is not None
    if passed and seen_seconds is not None:
        result = f"passed in {seen_seconds:.3g} s"
        steps["flag flipped and seen"] = drill.asked_at + seen_seconds - drill.received_at
    evidence = {
        "passed": passed,
        "seconds": seen_seconds,
        "steps": {step: round(seconds, 3) for step, seconds in steps.items()},
    }
    said = f"{result} ({reason})" if reason else result
    return here(state, "drill_end", actor=actor, reason=said, evidence=evidence)


def flags(states: Mapping[str, State], now: float) -> dict[str, Any]:
    """Return the flagd definitions of the flags of drills under way, by key: ``drill.ROLLOUT``."""
    return {
        flag_key(name): {
            "state": "ENABLED",
            "variants": {"waiting": False, "flipped": True},
            "defaultVariant": "waiting"
            if state.drill is None or state.drill.flipped_at is None
            else "flipped",
            "targeting": {},
        }
        for name, state in states.items()
        if under_way(state, now)
    }


def flag_key(rollout: str) -> str:
    """Return the key of a drill's flag."""
    return f"drill.{rollout}"


def _alert(firing: Iterable[GuardAlert]) -> GuardAlert | None:
    return next((alert for alert in firing if alert.firing and alert.guard == DRILL), None)
