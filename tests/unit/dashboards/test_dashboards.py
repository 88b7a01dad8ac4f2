"""Every guard has its panel, every metric is shown, documents find their titles, nothing breaks one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from rollguard import links
from rollguard.dashboards.grafana import finish
from rollguard.dashboards.overview.rollout import rollout_dashboard
from rollguard.exporters.evidence.judged import ASSIGNED, OUTCOME
from rollguard.exporters.exported_metrics import exported_metrics
from rollguard.exporters.features.declaration import shipped_declaration
from rollguard.exporters.runtime import health, intake
from rollguard.generators.dashboards.files import dashboard_files, outdated, write
from rollguard.generators.dashboards.guard_views import rollout_view
from rollguard.generators.rules.timing import Timing
from rollguard.metric import Metric
from rollguard.server.metric_names import CONTROL_PLANE
from rollguard.spec.fields import MAX_NAME
from rollguard.spec.loading import load_rollouts
from rollguard.spec.rollout import Guard, Rollout
from tests.dashboards import FOLDER, Data, panels, queries, resolved, shipped, variables
from tests.factories import ROOT

ROLLOUTS = load_rollouts(ROOT / "rollouts")
RULES = ROOT / "alerts" / "generated" / "rules"

TITLES = {
    "rollguard_canary": [
        "Win Rate by Route",
        "Markout & Fill Rate",
        "Score Distribution (Online)",
        "Calibration",
        "Drift PSI / KS",
        "Execution Ladder Aggressiveness",
        "Parity & Schema",
        "Rollouts & Mode Switches",
    ],
    "rollguard_validation": [
        "Real-time validation metrics",
        "Execution success rates",
        "Latency distributions",
        "Alert history",
    ],
    "rollguard_forecast": [
        "Divergence trend (val_rmse vs test_rmse)",
        "Overfitting detection",
        "RMSE improvement (2-model vs 4-model)",
        "Calibration success rate",
        "Model performance by symbol",
    ],
    "rollguard_features": [
        "Rollout percentages",
        "Flag states",
        "API budget",
        "Latency",
        "Throughput",
        "Position sizes",
    ],
    "rollguard_features_history": ["Rollout progression", "Error rates", "Rollbacks"],
}
"""What the documents of the watched systems ask for, in their words."""

OFFERED = [metric for rollout in ROLLOUTS for metric in exported_metrics(rollout)]

NOT_WORTH_IT: Mapping[str, str] = {
    "rollout_run": "a number: the table of decisions has it",
    "rollout_open": "the rollout file's calendar: rules read it, and `status` says that a guard is closed",
    "rollout_guard_held": "the table of guards says it; the evaluator of evidence reads it",
    "rollguard_ledger_head_info": "a hash: `rollguard verify --head` compares it",
    "rollguard_exporter_lag_entries": "the seconds behind a source tell more than the entries of a stream",
    "rollguard_exporter_label_overflow_total": "the exporter's own page names the metric and the label",
    **{
        metric.name: "the evaluator of evidence reads it"
        for metric in OFFERED
        if {ASSIGNED, OUTCOME} & {*metric.labels} or metric.name.startswith("rollguard_exporter_evidence_")
    },
    **{
        metric.sampled().name: "the guard's own panel is empty while it waits for its minimal sample"
        for metric in shipped_declaration().metrics
        if metric.min_sample > 1
    },
}
"""Metrics that an exporter or the control plane offers and no dashboard shows, and why."""


@pytest.mark.parametrize("uid", TITLES)
def test_a_document_finds_its_titles_in_its_order(uid: str) -> None:
    found = [panel["title"] for row in shipped()[uid]["panels"] for panel in (row, *row.get("panels", ()))]
    assert [title for title in found if title in TITLES[uid]] == TITLES[uid]


@pytest.mark.parametrize(
    ("title", "unit", "limits"),
    [
        ("Win Rate by Route", "percentunit", [0.5]),
        ("Markout & Fill Rate", "percentunit", [0.25]),
        ("Calibration", "percentunit", [0.05]),
        ("Drift PSI / KS", "none", [0.2, 0.3]),
    ],
)
def test_a_documents_threshold_is_drawn(title: str, unit: str, limits: list[float]) -> None:
    defaults = _panel(shipped()["rollguard_canary"], title)["fieldConfig"]["defaults"]
    assert defaults["unit"] == unit
    assert [step["value"] for step in defaults["thresholds"]["steps"][1:]] == limits


# Guards


def _rules(path: Path) -> list[Data]:
    content = yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return [rule for group in content["groups"] for rule in group["rules"] if "alert" in rule]


FILES = sorted(path for path in RULES.glob("*.rules.yml") if ".closeness." not in path.name)


def _compared(node: promql_parser.Expr) -> Iterator[tuple[str, str]]:
    """Yield the sides of each comparison that decides whether a rule fires, found by walking the tree."""
    nodes: list[promql_parser.Expr] = []
    promql_parser.walk(node, pre_visit=nodes.append)
    binaries = [one for one in nodes if isinstance(one, promql_parser.BinaryExpr)]
    hidden = {_plain(one.rhs) for one in binaries if str(one.op) == "unless"}
    for one in binaries:
        if str(one.op) in {"<", ">", "<=", ">=", "==", "!="} and _plain(one) not in hidden:
            yield _plain(one.lhs), _plain(one.rhs)


def _plain(node: promql_parser.Expr) -> str:
    """Return an expression with sorted labels, without spaces; to print it otherwise loses milliseconds."""
    return re.sub(r"\s+", "", node.prettify())


def _panel_of(rule: Data) -> Data:
    """Return the panel that a rule's annotation leads to."""
    path, _, number = rule["annotations"]["dashboard_url"].partition("?viewPanel=")
    return next(one for one in panels(shipped()[path.removeprefix("/d/")]) if one["id"] == int(number))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_guard_has_its_panel_with_the_same_expression_and_threshold(path: Path) -> None:
    for rule in _rules(path):
        panel, guard = _panel_of(rule), rule["labels"]["guard"]
        if guard != panel["title"]:  # it sees the data of the panel's guard go
            assert guard in _watching(panel), guard
            continue
        asked = {_plain(promql_parser.parse(target["expr"])) for target in panel["targets"]}
        limits = {step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]}
        for left, right in _compared(promql_parser.parse(rule["expr"])):
            number = _number(right)
            assert left in asked, guard
            assert number in limits or right in asked or _said(panel, number), guard


def _watching(panel: Data) -> set[str]:
    """Return the guards whose alarm for missing data the panel shows."""
    inside = re.findall(r'guard=~"([^"]+)"', " ".join(target["expr"] for target in panel["targets"]))
    return {name for names in inside for name in names.split("|")}


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _said(panel: Data, limit: float | None) -> bool:
    """Whether a condition's limit, which is not drawn, stands in the name of its line."""
    return limit is not None and any(f" {limit:g})" in target["legendFormat"] for target in panel["targets"])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_guards_panel_leads_to_its_runbook_and_its_rule(path: Path) -> None:
    for rule in _rules(path):
        panel = _panel_of(rule)
        if rule["labels"]["guard"] == panel["title"]:
            runbook = rule["annotations"]["runbook_url"].rpartition("/")[2]
            urls = [link["url"] for link in panel["links"]]
            assert urls == [
                f"${{runbooks}}/{runbook}",
                f"/alerting/${{datasource:text}}/{rule['alert']}/find",
            ]


# Metrics


def test_every_metric_that_is_offered_is_on_a_dashboard() -> None:
    asked: set[str] = set()
    for dashboard in shipped().values():
        for query in queries(dashboard):
            nodes: list[promql_parser.Expr] = []
            promql_parser.walk(
                promql_parser.parse(resolved(query.expr, variables(dashboard))), pre_visit=nodes.append
            )
            asked |= {node.name or "" for node in nodes if isinstance(node, promql_parser.VectorSelector)}
    every = {metric.name: metric for metric in (*OFFERED, *CONTROL_PLANE, *health.METRICS, *intake.METRICS)}
    hidden = {name for name, metric in every.items() if not asked & set(metric.series)}
    assert hidden == set(NOT_WORTH_IT)


# Files


def test_the_committed_dashboards_are_what_the_rollouts_give_byte_for_byte() -> None:
    assert outdated(dashboard_files(ROLLOUTS, exported_metrics), FOLDER) == []


def test_writing_removes_what_is_left_over_and_touches_nothing_else(tmp_path: Path) -> None:
    files = dashboard_files(ROLLOUTS[:1], exported_metrics)
    assert len(write(files, tmp_path)) == len(files)
    (tmp_path / "rollguard-gone.json").write_text("{}")
    assert [path.name for path in write(files, tmp_path)] == ["rollguard-gone.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(files)


def test_a_change_of_one_guard_changes_its_panel_alone(tmp_path: Path) -> None:
    rollout = next(one for one in ROLLOUTS if one.name == "model-canary")
    first, *rest = rollout.guards
    other = rollout.model_copy(update={"guards": (first.model_copy(update={"summary": "Another."}), *rest)})
    before, after = _made(rollout), _made(other)
    changed = [a["title"] for a, b in zip(panels(before), panels(after), strict=True) if a != b]
    assert changed == [first.name]


# Bad input


def _made(rollout: Rollout, metrics: tuple[Metric, ...] = ()) -> Data:
    found: Data = json.loads(finish.text(rollout_dashboard(rollout_view(rollout, metrics, Timing()))))
    return found


def _without_exporter(**changes: Any) -> Rollout:
    rollout = next(one for one in ROLLOUTS if one.name == "model-canary")
    scrape = rollout.scrape.model_copy(update={"exporter": None})
    return rollout.model_copy(update={"scrape": scrape, **changes})


def test_a_rollout_without_guards_still_says_where_it_is() -> None:
    made = _made(_without_exporter(guards=()))
    assert _panel(made, "Flag")
    assert "Guards that roll back" not in [panel["title"] for panel in made["panels"]]


def test_forty_guards_have_forty_panels_in_rows_of_three() -> None:
    guard = {
        "use": "threshold",
        "with": {"metric": "m", "above": 1},
        "severity": "critical",
        "action": "rollback",
    }
    guards = tuple(Guard.model_validate({**guard, "alert": f"Guard{number}"}) for number in range(40))
    made = _made(_without_exporter(guards=guards))
    places = [
        panel["gridPos"]
        for panel in panels(made)
        if panel["title"].startswith("Guard") and panel.get("links")
    ]
    assert len(places) == 40
    assert {at["x"] for at in places} == {0, 8, 16}


def test_the_longest_names_fit_into_what_grafana_accepts() -> None:
    name = "n" * MAX_NAME
    made = _made(_without_exporter(rollout=name, title="T" * 200))
    assert len(made["uid"]) <= links.MAX_UID
    assert made["uid"] != _made(_without_exporter(rollout=name[:-1] + "m"))["uid"]


def test_a_metric_without_a_unit_is_a_plain_number() -> None:
    guard = {
        "alert": "Odd",
        "use": "threshold",
        "with": {"metric": "odd_thing", "above": 1},
        "severity": "info",
    }
    made = _made(_without_exporter(guards=(Guard.model_validate({**guard, "action": "hold"}),)))
    assert _panel(made, "Odd")["fieldConfig"]["defaults"]["unit"] == "short"


def _panel(dashboard: Data, title: str) -> Data:
    return next(panel for panel in panels(dashboard) if panel["title"] == title)
