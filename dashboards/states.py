"""The states of rollouts as numbers, which a timeline draws and a mapping calls by their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dashboards.colours import BASELINE, BREACHED, CLOSE_RATIO, HEALTHY, MEASURED, mapped
from rollguard.conventions import DISABLED, ENABLED, ROLLBACK, STAGE_METRIC
from rollguard.spec import Rollout

CLOSENESS = "rollout_guard:closeness:max"
"""Recorded for each guard while it is armed and has data: 0 is far from its limit, 1 is at it."""

FLAG_STATES: Mapping[str, tuple[str, str]] = {
    "DISABLED": ("disabled", BASELINE),
    "ROLLING_OUT": ("rolling out", MEASURED),
    "ENABLED": ("enabled", HEALTHY),
    "ROLLBACK": ("rolled back", BREACHED),
}
FLAG_STATE_WORDS = mapped([(number, *found) for number, found in enumerate(FLAG_STATES.values())])

_STAGE_BLUES = ("light-blue", "blue", "semi-dark-blue", "dark-blue")


def flag_state(matcher: str) -> str:
    """Return PromQL of the flag's state as the number that `FLAG_STATE_WORDS` maps, for each rollout."""
    return _numbered("rollout_flag_state", "state", list(FLAG_STATES), matcher)


def stage(rollout: Rollout) -> str:
    """Return PromQL of where a rollout is, as the number that `stage_words` maps."""
    return _numbered(STAGE_METRIC, STAGE_METRIC, _positions(rollout), f'rollout="{rollout.name}"')


def stage_words(rollout: Rollout) -> list[dict[str, Any]]:
    """Return the mapping of the numbers of `stage`: stages are the bluer the later they are."""
    ends = {DISABLED: BASELINE, ENABLED: HEALTHY, ROLLBACK: BREACHED}
    count = len(rollout.stages)
    blues = {
        one.name: _STAGE_BLUES[index * len(_STAGE_BLUES) // count] for index, one in enumerate(rollout.stages)
    }
    colours = {**blues, **ends}
    return mapped([(number, name, colours[name]) for number, name in enumerate(_positions(rollout))])


def guards_over_time(matcher: str) -> str:
    """Return PromQL of what each guard was, as the number that `colours.GUARD_STATES` maps."""
    firing = f'max by (guard) (2 * ALERTS{{{matcher},guard!="",alertstate="firing"}})'
    close = f"max by (guard) ({CLOSENESS}{{{matcher}}} > bool {CLOSE_RATIO:g})"
    return f"{firing} or {close}"


def _positions(rollout: Rollout) -> list[str]:
    return [DISABLED, *(one.name for one in rollout.stages), ENABLED, ROLLBACK]


def _numbered(metric: str, label: str, names: Sequence[str], matcher: str) -> str:
    each = " or ".join(
        f'{number} * {metric}{{{matcher},{label}="{name}"}}' for number, name in enumerate(names)
    )
    return f"sum by (rollout) (max by (rollout, {label}) ({each}))"
