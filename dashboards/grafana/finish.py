"""The one pass after grafanalib: from what it writes to what Grafana 11 to 13 read.

grafanalib writes schema 12, with keys that have had no meaning for years, the data source as a name, the
first threshold as the text ``"null"``, and settings of bar gauges and tables where Grafana 7 had them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from grafanalib import core as grafana

SCHEMA_VERSION = 39
"""Of Grafana 11; newer ones bring it up to date when they read it, and keep the classic form."""

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}

_DASHBOARD = (
    *("annotations", "description", "editable", "graphTooltip", "links", "panels", "refresh", "tags"),
    *("templating", "time", "timezone", "title", "uid"),
)
_PANEL = (
    *("id", "type", "title", "description", "gridPos", "fieldConfig", "options", "targets", "links"),
    *("maxDataPoints", "transformations"),
)
_ROW = ("id", "type", "title", "gridPos", "collapsed", "panels")
_TARGET = ("expr", "legendFormat", "refId", "format")
_VARIABLE = (
    *("allValue", "current", "datasource", "hide", "includeAll", "label", "multi", "name", "query"),
    *("refresh", "sort", "type"),
)
_OF_TYPE: Mapping[str, tuple[str, ...]] = {
    "datasource": ("current", "hide", "includeAll", "label", "multi", "name", "query", "refresh", "type"),
    "constant": ("current", "hide", "label", "name", "query", "type"),
}


def text(dashboard: grafana.Dashboard) -> str:
    """Return a dashboard as the text of its file: the same for the same dashboard, key by key."""
    return (
        msgspec.json.format(msgspec.json.encode(finished(dashboard), order="sorted"), indent=2).decode()
        + "\n"
    )


def finished(dashboard: grafana.Dashboard) -> dict[str, Any]:
    """Return a dashboard as data that Grafana reads."""
    raw = _kept(_plain(dashboard), _DASHBOARD)
    return {
        **raw,
        "annotations": {"list": [_annotation(one) for one in raw["annotations"]["list"]]},
        "panels": [_panel(one) for one in raw["panels"]],
        "schemaVersion": SCHEMA_VERSION,
        "templating": {"list": [_variable(one) for one in raw["templating"]["list"]]},
        "timepicker": {},
    }


def _plain(value: Any) -> Any:
    """Return grafanalib's objects as dictionaries, without what is None."""
    if isinstance(value, str | int | float):
        return value
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items() if one is not None}
    if isinstance(value, Sequence):
        return [_plain(one) for one in value]
    return _plain(value.to_json_data())


def _kept(data: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return {key: data[key] for key in keys if key in data}


def _panel(raw: Mapping[str, Any]) -> dict[str, Any]:
    if raw["type"] == "row":
        return {**_kept(raw, _ROW), "panels": [_panel(one) for one in raw["panels"]]}
    panel = {**_kept(raw, _PANEL), "datasource": DATASOURCE}
    mend = _MENDED.get(raw["type"])
    if mend:
        mend(panel)
    defaults = panel["fieldConfig"]["defaults"]
    defaults["thresholds"]["steps"] = _steps(defaults["thresholds"]["steps"])
    panel["fieldConfig"].setdefault("overrides", [])
    panel["targets"] = [_target(one) for one in raw["targets"]]
    for optional in ("links", "transformations"):
        if not panel.get(optional):
            panel.pop(optional, None)
    return panel


def _steps(raw: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return thresholds; the first one begins at minus infinity, which Grafana writes as null."""
    return [
        {"color": one["color"], "value": one.get("value") if index else None} for index, one in enumerate(raw)
    ]


def _target(raw: Mapping[str, Any]) -> dict[str, Any]:
    instant = raw["instant"]
    return {
        **_kept(raw, _TARGET),
        "datasource": DATASOURCE,
        "editorMode": "code",
        "instant": instant,
        "range": not instant,
    }


def _bar_gauge(panel: dict[str, Any]) -> None:
    """Move what stood in `fieldOptions` before Grafana 7 to where it is read now."""
    options = panel["options"]
    old = options["fieldOptions"]
    links = old["defaults"].pop("links", [])
    panel["fieldConfig"]["defaults"] |= {**old["defaults"], **({"links": links} if links else {})}
    panel["options"] = {
        "displayMode": options["displayMode"],
        "orientation": options["orientation"],
        "reduceOptions": {"calcs": old["calcs"], "fields": "", "values": old["values"]},
        "showUnfilled": True,
        "valueMode": "color",
    }


def _table(panel: dict[str, Any]) -> None:
    """Call the way of showing a cell by its name since Grafana 10."""
    custom = panel["fieldConfig"]["defaults"]["custom"]
    custom["cellOptions"] = {"type": custom.pop("displayMode")}


def _lines(panel: dict[str, Any]) -> None:
    custom = panel["fieldConfig"]["defaults"]["custom"]
    custom["scaleDistribution"] = {"type": custom["scaleDistribution"]["type"]}
    panel["options"]["legend"]["showLegend"] = True


def _state_timeline(panel: dict[str, Any]) -> None:
    legend = panel["options"]["legend"]
    legend["showLegend"] = legend["displayMode"] != "hidden"
    legend["displayMode"] = "list"


def _stat(panel: dict[str, Any]) -> None:
    del panel["fieldConfig"]["defaults"]["custom"]


_MENDED = {
    "bargauge": _bar_gauge,
    "stat": _stat,
    "state-timeline": _state_timeline,
    "table": _table,
    "timeseries": _lines,
}


def _annotation(raw: Mapping[str, Any]) -> dict[str, Any]:
    return {**raw, "datasource": DATASOURCE}


def _variable(raw: Mapping[str, Any]) -> dict[str, Any]:
    found = _kept(raw, _OF_TYPE.get(raw["type"], _VARIABLE))
    if raw["type"] == "query":
        found |= {
            "datasource": DATASOURCE,
            "definition": raw["query"],
            "query": {"query": raw["query"], "refId": raw["name"]},
        }
    current = {key: value for key, value in raw["current"].items() if key in ("text", "value")}
    if current.get("value") == "$__all":
        current = {"text": ["All"], "value": ["$__all"]}
    return {**found, "current": current}
