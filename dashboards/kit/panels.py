"""The kinds of panel that the rooms are made of, each with its title, unit, size and what to do about it."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from grafanalib import core as grafana

from rollguard.dashboards.kit.colours import HEALTHY, Steps, steps

Panel: TypeAlias = grafana.Panel
Override: TypeAlias = dict[str, Any]

POINTS_PER_COLUMN = 20
"""Points of a line for each of the 24 columns that a panel is wide: what a screen shows, and no more."""


def query(expr: str, legend: str = "", *, instant: bool = False, table: bool = False) -> grafana.Target:
    """Return a query of Prometheus.

    Args:
        expr: PromQL.
        legend: name of the lines; labels in ``{{ }}``.
        instant: only the newest value is asked for.
        table: a row for each series.
    """
    kind = grafana.TABLE_TARGET_FORMAT if table else grafana.TIME_SERIES_TARGET_FORMAT
    return grafana.Target(expr=expr, legendFormat=legend, instant=instant or table, format=kind)


def place(width: int, height: int) -> grafana.GridPos:
    """Return a size, in units of Grafana's grid of 24 columns; `layout` says where."""
    return grafana.GridPos(h=height, w=width, x=0, y=0)


def named(targets: Sequence[grafana.Target]) -> list[grafana.Target]:
    """Return the queries of a panel with letters: A, B ... Z, AA ..."""
    letters = string.ascii_uppercase
    for index, target in enumerate(targets):
        target.refId = ("" if index < 26 else letters[index // 26 - 1]) + letters[index % 26]
    return list(targets)


def lines(
    title: str,
    description: str,
    targets: Sequence[grafana.Target],
    *,
    unit: str,
    thresholds: Steps | None = None,
    drawn: str = "dashed+area",
    size: tuple[int, int] = (8, 7),
    least: float | None = None,
    most: float | None = None,
    overrides: Sequence[Override] = (),
    links: Sequence[Mapping[str, Any]] = (),
    no_value: str = "no data",
    bars: bool = False,
    stacked: bool = False,
) -> Panel:
    """Return lines over time.

    Args:
        thresholds: where the value is good and where not; None for neither.
        drawn: how thresholds are shown, as Grafana calls it.
        size: width and height on the grid.
        least: where the axis begins; None leaves it to the values.
        most: where it ends.
        bars: bars instead of lines.
        stacked: values on top of each other.
    """
    return grafana.TimeSeries(
        title=title,
        description=description,
        targets=named(targets),
        unit=unit,
        gridPos=place(*size),
        maxDataPoints=POINTS_PER_COLUMN * size[0],
        thresholds=thresholds or steps(HEALTHY),
        thresholdsStyleMode=drawn if thresholds else "off",
        drawStyle="bars" if bars else "line",
        fillOpacity=30 if bars or stacked else 0,
        stacking={"mode": "normal" if stacked else "none", "group": "A"},
        showPoints="never",
        tooltipMode="multi",
        tooltipSort="desc",
        overrides=list(overrides),
        links=list(links),
        extraJson=_defaults(min=least, max=most, noValue=no_value),
    )


def stat(
    title: str,
    description: str,
    target: grafana.Target,
    *,
    unit: str,
    thresholds: Steps | None = None,
    mappings: Sequence[Mapping[str, Any]] = (),
    text: str = "value",
    size: tuple[int, int] = (4, 4),
    links: Sequence[Mapping[str, Any]] = (),
    no_value: str = "no data",
) -> Panel:
    """Return one number, or word, with the colour of how good it is.

    Args:
        text: value, name or value_and_name.
    """
    target.instant = True  # a number of hours ago is not what is now
    return grafana.Stat(
        title=title,
        description=description,
        targets=named([target]),
        format=unit,
        gridPos=place(*size),
        thresholds=thresholds or steps(HEALTHY),
        mappings=list(mappings),
        color={"mode": "thresholds"},
        colorMode="background_solid",
        graphMode="none",
        reduceCalc="lastNotNull",
        textMode=text,
        noValue=no_value,
        links=list(links),
    )


def bars(
    title: str,
    description: str,
    target: grafana.Target,
    *,
    unit: str,
    thresholds: Steps,
    most: float,
    size: tuple[int, int] = (8, 8),
    links: Sequence[Mapping[str, Any]] = (),
) -> Panel:
    """Return a bar for each series, the newest value of each."""
    return grafana.BarGauge(
        title=title,
        description=description,
        targets=named([target]),
        format=unit,
        gridPos=place(*size),
        thresholds=thresholds,
        calc="lastNotNull",
        displayMode=grafana.GAUGE_DISPLAY_MODE_BASIC,
        min=0,
        max=most,
        dataLinks=list(links),
        extraJson=_defaults(noValue="no data", color={"mode": "thresholds"}),
    )


def timeline(
    title: str,
    description: str,
    targets: Sequence[grafana.Target],
    *,
    mappings: Sequence[Mapping[str, Any]],
    size: tuple[int, int] = (16, 8),
    overrides: Sequence[Override] = (),
) -> Panel:
    """Return a row for each series, with what it was and when."""
    return grafana.StateTimeline(
        title=title,
        description=description,
        targets=named(targets),
        gridPos=place(*size),
        maxDataPoints=POINTS_PER_COLUMN * size[0],
        mappings=list(mappings),
        thresholds=steps(HEALTHY),
        overrides=list(overrides),
        rowHeight=0.8,
        legendDisplayMode="hidden",
        extraJson=_defaults(noValue="no data", unit="none"),
    )


def table(
    title: str,
    description: str,
    targets: Sequence[grafana.Target],
    *,
    transformations: Sequence[Mapping[str, Any]],
    overrides: Sequence[Override] = (),
    size: tuple[int, int] = (24, 9),
    unit: str = "short",
) -> Panel:
    """Return a table."""
    return grafana.Table(
        title=title,
        description=description,
        targets=named(targets),
        gridPos=place(*size),
        transformations=list(transformations),
        overrides=list(overrides),
        thresholds=steps(HEALTHY),
        unit=unit,
        filterable=True,
        extraJson=_defaults(noValue="no data"),
    )


def override(name: str, properties: Mapping[str, Any], *, pattern: bool = False) -> Override:
    """Return how one series, or each whose name matches a pattern, is shown otherwise than the rest."""
    return {
        "matcher": {"id": "byRegexp" if pattern else "byName", "options": name},
        "properties": [{"id": key, "value": value} for key, value in properties.items()],
    }


def fixed(colour: str) -> dict[str, str]:
    """Return a colour that does not depend on the value."""
    return {"mode": "fixed", "fixedColor": colour}


def link(title: str, url: str) -> dict[str, Any]:
    """Return a link of a panel or of its data."""
    return {"title": title, "url": url, "targetBlank": True}


def _defaults(**settings: Any) -> dict[str, Any]:
    return {"fieldConfig": {"defaults": {key: value for key, value in settings.items() if value is not None}}}
