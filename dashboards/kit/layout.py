"""Where panels stand: sections from top to bottom, panels from left to right as they fit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from grafanalib import core as grafana

from rollguard.dashboards.kit.panels import Panel
from rollguard.links import panel_id

COLUMNS = 24


@dataclass(frozen=True)
class Section:
    """Some panels under a heading.

    Args:
        title: the heading; empty for what comes first and needs none.
        panels: in reading order.
        folded: only the heading is shown at first, and nothing is asked of Prometheus until it is opened.
    """

    title: str
    panels: Sequence[Panel]
    folded: bool = False


def arranged(sections: Iterable[Section]) -> list[Any]:
    """Return the panels of some sections with their places and ids; a section without panels is left out."""
    found: list[Any] = []
    taken: set[int] = set()
    top = 0
    for section in sections:
        if not section.panels:
            continue
        row = _heading(section, top, taken) if section.title else None
        top += 1 if row else 0
        below = _flow(section.panels, top, taken)
        found += [row] if row else []
        if row and section.folded:
            row.panels = below
        else:
            found += below
            top = max(panel.gridPos.y + panel.gridPos.h for panel in below)
    return found


def _heading(section: Section, top: int, taken: set[int]) -> Any:
    place = grafana.GridPos(h=1, w=COLUMNS, x=0, y=top)
    number = _number(f"row {section.title}", taken)
    return grafana.RowPanel(title=section.title, gridPos=place, collapsed=section.folded, id=number)


def _flow(panels: Sequence[Panel], top: int, taken: set[int]) -> list[Panel]:
    left, height = 0, 0
    for panel in panels:
        place = panel.gridPos
        if left + place.w > COLUMNS:
            left, top, height = 0, top + height, 0
        place.x, place.y = left, top
        left, height = left + place.w, max(height, place.h)
        panel.id = _number(panel.title, taken)
    return list(panels)


def _number(title: str, taken: set[int]) -> int:
    number = panel_id(title, taken)
    taken.add(number)
    return number
