"""What several rooms say at a glance: how many guards fire, and how close the closest ones are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rollguard.dashboards.kit.colours import HEADROOM_STEPS, rising
from rollguard.dashboards.kit.panels import Panel, bars, query, stat
from rollguard.dashboards.kit.states import firing
from rollguard.dashboards.kit.units import NUMBER, SHARE

_MOST = 1.2
"""Where the bars of closeness end: at 1 a guard fires."""


def guards_firing(description: str, matcher: str) -> Panel:
    """Return how many guards of some rollouts fire.

    Args:
        description: of the panel.
        matcher: of the rollouts, such as ``rollout="model-canary"``.
    """
    return stat(
        "Guards firing",
        description,
        query(f"count{firing(matcher)} or vector(0)"),
        unit=NUMBER,
        thresholds=rising(1),
        size=(3, 4),
    )


def least_headroom(
    description: str, closeness: str, legend: str, links: Sequence[Mapping[str, Any]] = ()
) -> Panel:
    """Return which one is closest to its limit, and how close.

    Args:
        description: of the panel.
        closeness: PromQL of what is compared, 1 at its limit.
        legend: the name of each.
        links: of the one that is shown.
    """
    return stat(
        "Closest guard",
        description,
        query(f"topk(1, {closeness})", legend),
        unit=SHARE,
        thresholds=HEADROOM_STEPS,
        text="value_and_name",
        size=(6, 4),  # names of guards and rollouts are long
        links=links,
        no_value="no guard armed with data",
    )


def headroom_bars(
    title: str, description: str, closeness: str, legend: str, links: Sequence[Mapping[str, Any]] = ()
) -> Panel:
    """Return how close each is to its limit, the closest first; arguments as for `closest_guard`."""
    return bars(
        title,
        description,
        query(f"sort_desc({closeness})", legend, instant=True),
        unit=SHARE,
        thresholds=HEADROOM_STEPS,
        most=_MOST,
        links=links,
    )
