"""Colours that mean the same on every dashboard, and the thresholds and mappings that use them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

HEALTHY = "green"
CLOSE = "yellow"
HELD = "orange"
"""Held, pending or without data: nobody moves on."""
BREACHED = "red"
"""Beyond a limit, firing or rolled back."""
MEASURED = "blue"
"""What is measured of the release; also: rolling out."""
BASELINE = "#8e8e8e"
"""What it is compared with; also: switched off."""
NOTHING = "transparent"

Steps: TypeAlias = list[dict[str, Any]]

CLOSE_RATIO = 0.8
"""From so near to its limit on, a guard is shown as close."""


def steps(first: str, *following: tuple[float, str]) -> Steps:
    """Return thresholds: a colour from below, and from each value on another."""
    return [
        {"color": first, "value": None},
        *({"color": colour, "value": value} for value, colour in following),
    ]


def rising(*limits: float) -> Steps:
    """Return thresholds of what is bad when it is high: with two limits, the first one only warns."""
    colours = [CLOSE, BREACHED] if len(limits) > 1 else [BREACHED]
    return steps(HEALTHY, *zip(limits, colours, strict=True))


def falling(*limits: float) -> Steps:
    """Return thresholds of what is bad when it is low: of two limits, the lower one is breached."""
    colours = [BREACHED, CLOSE] if len(limits) > 1 else [BREACHED]
    return steps(colours[0], *zip(limits, [*colours[1:], HEALTHY], strict=True))


def mapped(values: Sequence[tuple[float | str, str, str]]) -> list[dict[str, Any]]:
    """Return a value mapping.

    Args:
        values: number or text as it is, word and colour of each.
    """
    options = {
        value if isinstance(value, str) else f"{value:g}": {"text": text, "color": colour, "index": index}
        for index, (value, text, colour) in enumerate(values)
    }
    return [{"type": "value", "options": options}]


FIRES_AT_ANY = 1e-9
"""The limit of a counter that must not rise at all."""

HEADROOM_STEPS = rising(CLOSE_RATIO, 1.001)
"""Of how close a guard is: exactly at its limit, most guards do not fire yet."""

GUARD_STATES = mapped([(0, "calm", HEALTHY), (1, "close", CLOSE), (2, "firing", BREACHED)])
YES_IS_GOOD = mapped([(0, "no", BREACHED), (1, "yes", HEALTHY)])
