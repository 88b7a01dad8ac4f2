"""The states of rollouts as numbers, which a timeline draws and a mapping calls by their names."""

from __future__ import annotations

from collections.abc import Mapping

from rollguard.conventions import HEADROOM, STAGE_METRIC
from rollguard.dashboards.kit.colours import BASELINE, BREACHED, CLOSE_RATIO, HEALTHY, HELD, MEASURED, mapped

FLAG_STATES: Mapping[str, tuple[str, str]] = {
    "DISABLED": ("disabled", BASELINE),
    "ROLLING_OUT": ("rolling out", MEASURED),
    "ENABLED": ("enabled", HEALTHY),
    "ROLLBACK": ("rolled back", BREACHED),
}
_HELD, _PAUSED = len(FLAG_STATES), len(FLAG_STATES) + 1
FLAG_STATE_WORDS = mapped(
    [
        *((number, *found) for number, found in enumerate(FLAG_STATES.values())),
        (_HELD, "held", HELD),
        (_PAUSED, "paused", HELD),
    ]
)

STAGE_WORDS = mapped([(1, "here", MEASURED)])


def flag_state(matcher: str) -> str:
    """Return PromQL of the flag's state as the number that `FLAG_STATE_WORDS` maps, for each rollout.

    A rollout that is rolling out counts as held, or paused, while it is.
    """
    rolling, enabled, rolled_back = (
        f'max by (rollout) (rollout_flag_state{{{matcher},state="{name}"}})'
        for name in ("ROLLING_OUT", "ENABLED", "ROLLBACK")
    )
    paused = f"max by (rollout) (rollout_paused{{{matcher}}})"
    held = f"(max by (rollout) (rollout_held{{{matcher}}}) > bool 0) * (1 - {paused})"
    kept = f"1 + {_HELD - 1} * {held} + {_PAUSED - 1} * {paused}"
    return f"{rolling} * ({kept}) + 2 * {enabled} + 3 * {rolled_back}"


def stage(matcher: str) -> str:
    """Return PromQL of where a rollout is: 1, with the label of that name."""
    return f"max by ({STAGE_METRIC}) ({STAGE_METRIC}{{{matcher}}} == 1)"


def firing(matcher: str) -> str:
    """Return PromQL of the alerts that fire: of guards of rollouts that run, and of the platform."""
    alerts = f'ALERTS{{{matcher},guard{{}},alertstate="firing"}}'
    over = f'max by (rollout) (rollout_flag_state{{{matcher},state=~"DISABLED|ROLLBACK"}}) == 1'
    guards, platform = (alerts.replace("{}", each) for each in ('!=""', '=~"Rollguard.+"'))
    return f"({guards} unless on (rollout) ({over}) or {platform})"


def guards_over_time(matcher: str) -> str:
    """Return PromQL of what each guard was, as the number that `colours.GUARD_STATES` maps."""
    fire = f"max by (guard) (2 * {firing(matcher)})"
    close = f"max by (guard) ({HEADROOM}{{{matcher}}} > bool {CLOSE_RATIO:g})"
    return f"{fire} or {close}"
