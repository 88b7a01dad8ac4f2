"""What keeps a person from starting or promoting a rollout, and how it is said."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from rollguard import decide
from rollguard.durations import render
from rollguard.lifecycle import RefusedError
from rollguard.notification import GuardAlert
from rollguard.spec import Action, Rollout
from rollguard.state import State


def in_cooldown(state: State, left: float) -> None:
    """Refuse while a breach may still echo; `left` is in seconds."""
    if left > 0:
        ends = f"its cooldown ends in {render(math.ceil(left))}"
        raise RefusedError(f"{state.rollout} was rolled back by {state.reason}; {ends}.")


def without_required(rollout: Rollout, states: Mapping[str, State]) -> None:
    """Refuse until every rollout that this one requires is fully on."""
    missing = [name for name in rollout.requires if states.get(name, State(name)).status != "ENABLED"]
    if missing:
        where = ", ".join(f"{name} (in {states.get(name, State(name)).position})" for name in missing)
        raise RefusedError(f"{rollout.name} requires {where}, expected in enabled.")


def while_firing(
    rollout: Rollout, position: str, firing: Iterable[GuardAlert], actions: Sequence[Action]
) -> None:
    """Refuse while a guard with one of the actions fires that is armed at a position."""
    known = list(firing)
    for action in actions:
        breached = decide.armed(rollout, position, known, action)
        if breached:
            names = ", ".join(sorted({guard.name for guard, _ in breached}))
            raise RefusedError(f"{rollout.name}: {names} fires in {position} (action {action}).")
