"""What a person or a program is told of rollouts and decisions, as plain data."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from rollguard.control.decide import armed
from rollguard.control.plane import ControlPlane
from rollguard.flags.definitions import percent_of
from rollguard.monitoring.observation import GuardObservation
from rollguard.spec.platform import acting_guards
from rollguard.spec.rollout import Rollout
from rollguard.state import Entry, State
from rollguard.targets.applier import Applier

_UNSEEN = GuardObservation(None)


def entry(found: Entry) -> dict[str, Any]:
    """Return a ledger entry as JSON data."""
    return dict(vars(found))


def overview(control: ControlPlane, applier: Applier) -> list[dict[str, Any]]:
    """Return every rollout's state, what holds it, its firing guards and its targets, ordered by name."""
    states = control.ledger.states()
    return [
        _rollout(control, applier, rollout, states.get(name, State(name)))
        for name, rollout in control.rollouts.items()
    ]


def _as_of_now(seen: GuardObservation, fires: bool) -> GuardObservation:
    """Return what a guard can say; that an armed one fires is known before Prometheus is looked at again."""
    return replace(seen, condition="breached", why="fires") if fires and seen.condition == "armed" else seen


def _rollout(control: ControlPlane, applier: Applier, rollout: Rollout, state: State) -> dict[str, Any]:
    firing = control.firing(rollout.name)
    said = {alert.guard: alert.annotations.get("description", "") for alert in reversed(firing)}
    fires = {guard.name for guard, _ in armed(rollout, state.position, firing, "hold")}
    held_by = sorted(state.held | (fires if state.running else set()))
    seen = control.seen(state)
    guards = seen.guards if seen else {}
    return {
        "rollout": rollout.name,
        "title": rollout.title,
        "owner": rollout.owner,
        "mode": rollout.mode,
        "state": state.status,
        "stage": state.stage,
        "position": state.position,
        "percent": None if rollout.name in control.undefined else percent_of(rollout, state),
        "run": state.run,
        "file_problems": list(control.file_problems.get(rollout.name, ())),
        "entry": state.seq,
        "reason": state.reason,
        "entered_at": state.entered_at,
        "held_by": held_by,
        "paused_by": state.paused_by,
        "acknowledged": state.acknowledged,
        "approved": state.approved,
        "overdue": state.overdue,
        "extended": state.extended,
        "waits_for": control.waits_for(rollout, state),
        "next": control.next_step(rollout, state),
        "observed_at": seen.at if seen else None,
        "criteria": [asdict(criterion) for criterion in seen.criteria] if seen else [],
        "failures": [asdict(failure) for failure in seen.failures] if seen else [],
        "alerts_unknown": control.alerts_unknown,
        "hold_left_seconds": control.hold_left(rollout, state),
        "cooldown_left_seconds": control.cooldown_left(rollout, state),
        "noted": sorted(state.noted),
        "guards": [
            {
                "guard": guard.name,
                "action": guard.action,
                "armed": guard.armed_in(state.position),
                "firing": guard.armed_in(state.position) and guard.name in said,
                "description": said.get(guard.name, "") if guard.armed_in(state.position) else "",
                **asdict(_as_of_now(guards.get(guard.name, _UNSEEN), guard.name in said)),
            }
            for guard in acting_guards(rollout)
        ],
        "targets": [asdict(status) for status in applier.statuses() if status.rollout == rollout.name],
    }
