"""What a dashboard must be like: the rules of grafana/dashboard-linter that apply, and our own, as data."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations

import promql_parser

from tests.dashboards import Data, panels, queries, resolved, shipped, variables

Check = Callable[[Data], Iterator[str]]

PANEL_TYPES = {"bargauge", "row", "stat", "state-timeline", "table", "timeseries"}
"""Those that we use; graph, singlestat and table-old were removed with Angular."""

DOCUMENTED_WINDOWS = {
    "Execution Ladder Aggressiveness": "the document says 5m",
    "Parity & Schema": "the document says 5m",
    "Rollouts & Mode Switches": "the document says 30m",
    "Symbols with errors": "the window of the guard ScanErrorRateHigh",
    "Rejected signals": "the document says the last hour",
    "Success by strategy": "the document says the last hour",
    "Forecasts that succeed": "the window of the guard ForecastFailures",
    "Critical errors": "forecasts are made daily",
    "Calibration success rate": "calibrations are made daily",
    "Violations today": "its title says so",
    "R multiples and stop losses": "the window of the guard on stop losses",
    "Pipeline time": "the window of the guard PipelineSlow",
    "Latency against before": "a day's history in hours",
    "Highest error rate": "the window of the guard FeatureErrorRateHigh",
    "Error rates": "the window of the guard FeatureErrorRateHigh",
    "Errors, exposed against unexposed": "the window of the guard FeatureErrorRateHigh",
}
"""Panels whose windows do not follow the zoom, and why."""

GUARD_LINK = "Rule in Prometheus"
"""Panels with this link show a rule as Prometheus evaluates it, windows and all."""


@dataclass(frozen=True)
class Rule:
    """One rule.

    Args:
        name: as the linter calls it; ours have names of our own.
        check: yields what breaks it; None where it is left out.
        reason: why it is left out, or why it is ours.
    """

    name: str
    check: Check | None
    reason: str = ""


def _datasource(dashboard: Data) -> Iterator[str]:
    first = dashboard["templating"]["list"][0]
    if (first["name"], first["label"], first["type"], first["query"]) != (
        "datasource", "Data source", "datasource", "prometheus",
    ):  # fmt: skip
        yield f"its first variable is {first['name']}, labelled {first['label']}"


def _reload(dashboard: Data) -> Iterator[str]:
    for one in dashboard["templating"]["list"]:
        if one["type"] == "query" and one["refresh"] != 2:
            yield f"variable {one['name']} is not asked for anew when the time changes"


def _variable_promql(dashboard: Data) -> Iterator[str]:
    for one in dashboard["templating"]["list"]:
        if one["type"] != "query":
            continue
        match = re.fullmatch(r"label_values\((.+), (\w+)\)", one["query"]["query"])
        if match is None:
            yield f"variable {one['name']} asks {one['query']['query']}"
        else:
            promql_parser.parse(resolved(match[1], variables(dashboard)))


def _panel_datasource(dashboard: Data) -> Iterator[str]:
    wanted = {"type": "prometheus", "uid": "${datasource}"}
    for panel in panels(dashboard):
        if any(one.get("datasource") != wanted for one in (panel, *panel["targets"])):
            yield f"panel {panel['title']}"


def _described(dashboard: Data) -> Iterator[str]:
    for panel in panels(dashboard):
        if not panel.get("title") or len(panel.get("description", "")) < 20:
            yield f"panel {panel.get('title')} has no title or no description"


def _units(dashboard: Data) -> Iterator[str]:
    for panel in panels(dashboard):
        if not panel["fieldConfig"]["defaults"].get("unit"):
            yield f"panel {panel['title']} has no unit"


def _targets(dashboard: Data) -> Iterator[str]:
    for panel in panels(dashboard):
        if not panel["targets"]:
            yield f"panel {panel['title']} asks for nothing"


def _promql(dashboard: Data) -> Iterator[str]:
    for query in queries(dashboard):
        try:
            promql_parser.parse(resolved(query.expr, variables(dashboard)))
        except ValueError as error:
            yield f"{query.name}: {query.expr}: {error}"


def _rate_interval(dashboard: Data) -> Iterator[str]:
    for panel in panels(dashboard):
        if panel["title"] in DOCUMENTED_WINDOWS or _shows_a_rule(panel):
            continue
        for target in panel["targets"]:
            for window in re.findall(r"\b(?:rate|irate|increase)\([^\[]*\[([^\]]+)\]", target["expr"]):
                if window != "$__rate_interval":
                    yield f"panel {panel['title']} looks back {window}: {target['expr']}"


def _shows_a_rule(panel: Data) -> bool:
    return any(link["title"] == GUARD_LINK for link in panel.get("links", ()))


def _counters(dashboard: Data) -> Iterator[str]:
    """A counter is summed up under its rate; by itself it jumps back at a restart."""
    for query in queries(dashboard):
        for bare in re.finditer(r"(?<![\w:])(\w+_total)(?=[{\s)]|$)", query.expr):
            inside = re.search(r"(\w+)\($", query.expr[: bare.start()])
            counted = inside and inside[1] in {"rate", "irate", "increase", "changes", "absent", "count"}
            if not counted and (query.place, bare[1]) not in TOTALS:
                yield f"{query.name}: {bare[1]} stands by itself"


TOTALS = {
    ("Where each rollout is", "rollback_total"): "how many since the ledger began, which no restart resets"
}


def _uneditable(dashboard: Data) -> Iterator[str]:
    if dashboard["editable"] is not False:
        yield "it can be edited, though a push would undo that"


def _ids(dashboard: Data) -> Iterator[str]:
    rows = [panel for panel in dashboard["panels"] if panel["type"] == "row"]
    numbers = [panel["id"] for panel in (*rows, *panels(dashboard))]
    if len(set(numbers)) != len(numbers):
        yield "two panels share an id"
    titles = [panel["title"] for panel in panels(dashboard)]
    yield from (f"two panels are called {one}" for one in set(titles) if titles.count(one) > 1)


def _references(dashboard: Data) -> Iterator[str]:
    for panel in panels(dashboard):
        refs = [target["refId"] for target in panel["targets"]]
        if len(set(refs)) != len(refs) or not all(refs):
            yield f"panel {panel['title']}: {refs}"


def _grid(dashboard: Data) -> Iterator[str]:
    groups = [dashboard["panels"]]
    groups += [
        panel["panels"] for panel in dashboard["panels"] if panel["type"] == "row" and panel["collapsed"]
    ]
    for group in groups:
        places = [(panel["title"], panel["gridPos"]) for panel in group]
        yield from (f"{title} is wider than the page" for title, at in places if at["x"] + at["w"] > 24)
        for (one, a), (other, b) in combinations(places, 2):
            if (
                a["x"] < b["x"] + b["w"]
                and b["x"] < a["x"] + a["w"]
                and a["y"] < b["y"] + b["h"]
                and b["y"] < a["y"] + a["h"]
            ):
                yield f"{one} lies over {other}"


def _types(dashboard: Data) -> Iterator[str]:
    every = (*dashboard["panels"], *panels(dashboard))
    yield from (f"{one['title']} is a {one['type']}" for one in every if one["type"] not in PANEL_TYPES)


def _schema(dashboard: Data) -> Iterator[str]:
    if not 39 <= dashboard["schemaVersion"] <= 41:
        yield f"its schema is {dashboard['schemaVersion']}"


_DEAD = {
    *("rows", "style", "sharedCrosshair", "hideControls", "gnetId", "__inputs", "cacheTimeout", "error"),
    *("span", "minSpan", "step", "intervalFactor", "metric", "fieldOptions"),
    *("useTags", "tagsQuery", "tagValuesQuery"),
}


def _dead_keys(dashboard: Data) -> Iterator[str]:
    yield from _walk(dashboard, "")


def _walk(value: object, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in _DEAD:
                yield f"{path}.{key}"
            if inner is None and not (key == "value" and ".steps[0]" in path):
                yield f"{path}.{key} is null"
            yield from _walk(inner, f"{path}.{key}")
    if isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _walk(inner, f"{path}[{index}]")
    if value in ("null", "None"):
        yield f"{path} is the text {value}"


def _thresholds(dashboard: Data) -> Iterator[str]:
    for panel in panels(dashboard):
        values = [step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]]
        if values[0] is not None or values[1:] != sorted(values[1:]):
            yield f"panel {panel['title']}: {values}"


def _first_row(dashboard: Data) -> Iterator[str]:
    above = [panel for panel in dashboard["panels"] if panel["gridPos"]["y"] < 13]
    if len(above) > 10:
        yield f"{len(above)} panels above the fold"


def _links(dashboard: Data) -> Iterator[str]:
    known = set(shipped())
    for uid in re.findall(r'"/d/([\w-]+)[?"]', str(dashboard).replace("'", '"')):
        if uid not in known:
            yield f"links to {uid}, which is not there"


RULES = (
    Rule("template-datasource-rule", _datasource),
    Rule("template-on-time-change-reload-rule", _reload),
    Rule("template-label-promql-rule", _variable_promql),
    Rule(
        "template-job-rule",
        None,
        "a rollout's series are chosen by the label rollout, whatever job they come from",
    ),
    Rule("template-instance-rule", None, "a guard judges the release, not an instance"),
    Rule("target-job-rule", None, "as template-job-rule"),
    Rule("target-instance-rule", None, "as template-instance-rule"),
    Rule("target-logql-rule", None, "there are no logs"),
    Rule("target-logql-auto-rule", None, "there are no logs"),
    Rule("panel-datasource-rule", _panel_datasource),
    Rule("panel-title-description-rule", _described),
    Rule("panel-units-rule", _units),
    Rule("panel-no-targets-rule", _targets),
    Rule("target-promql-rule", _promql),
    Rule("target-rate-interval-rule", _rate_interval),
    Rule("target-counter-agg-rule", _counters),
    Rule("uneditable-dashboard", _uneditable),
    Rule("ids are unique", _ids, "a link to a panel names its id, and a person its title"),
    Rule("references are unique", _references, "Grafana merges queries of one letter"),
    Rule("the grid holds", _grid, "panels over one another cannot be read"),
    Rule("panels that exist", _types, "Grafana 12 removed what Angular drew"),
    Rule("classic schema", _schema, "older ones are migrated with losses, newer ones refused by Grafana 11"),
    Rule("no dead keys, no nulls", _dead_keys, "what means nothing hides what does"),
    Rule("thresholds rise from minus infinity", _thresholds, "Grafana paints them in this order"),
    Rule("few panels above the fold", _first_row, "the answer comes first"),
    Rule("links lead somewhere", _links, "a dead link costs time at night"),
)
