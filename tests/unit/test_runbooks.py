"""Every alert has a page for whoever it wakes: short, whole, and naming only what there is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from rollguard.cli.main import cli
from rollguard.conventions import ENABLED
from rollguard.exporters.exported_metrics import exported_metrics
from rollguard.exporters.features.declaration import shipped_declaration
from rollguard.generators.promql import syntax
from rollguard.metric import Metric
from rollguard.spec.exporter import Exporter
from rollguard.spec.guards import NO_DATA, all_guards, runbook
from rollguard.spec.loading import load_rollout, load_rollouts
from rollguard.spec.platform import PlatformAlert, platform_alerts
from rollguard.spec.rollout import Guard, Rollout
from rollguard.spec.series import Series
from tests.factories import ROOT

RUNBOOKS = ROOT / "docs/runbooks"
INDEX = RUNBOOKS / "README.md"
MANUAL = RUNBOOKS / "manual-rollback.md"
PAGES = sorted(RUNBOOKS.glob("*.md"))
ALERTS = [path for path in PAGES if path not in (INDEX, MANUAL)]
SHIPPED = list(
    {
        (runbook(rollout, guard), guard.alert, guard.severity, guard.action): (rollout, guard)
        for rollout in load_rollouts(ROOT / "rollouts")
        for guard in all_guards(rollout)
        if runbook(rollout, guard) != NO_DATA
    }.values()
)
"""Of guards that share a page, a severity and an action, one."""


def every_metric() -> Iterator[Metric]:
    """Yield what the exporters of all five systems offer."""
    rollout = load_rollout(ROOT / "rollouts/model-canary.yaml")
    for kind, options in {
        "canary": {"events": "e"},
        "screener": {"log": "l", "database": "sqlite:///d"},
        "validation": {"events": "e"},
        "forecast": {"log": "l", "database": "sqlite:///d"},
    }.items():
        exporter = Exporter.model_validate({kind: options})
        yield from exported_metrics(
            rollout.model_copy(update={"scrape": rollout.scrape.model_copy(update={"exporter": exporter})})
        )
    for metric in shipped_declaration().metrics:
        yield metric.described()


OFFERED = {series: {*metric.labels, "rollout", "le"} for metric in every_metric() for series in metric.series}
"""The labels of every series that a query may read."""

HEADINGS = ("What it means", "What Rollguard did", "Check", "What to do", "Resume")
SHARED = "All six trading features"
PLATFORM = "The platform itself"
MOST_WORDS = 460
"""What a tired person reads in two minutes, code aside."""

FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
ENTRY = re.compile(r"^\| \[(\w+)\]\((\w+)\.md\) \| (\w+) \| (\w+) \| .+ \|$", re.MULTILINE)
QUERY = re.compile(r"promtool query instant \S+ '([^']+)'")
OWN = re.compile(r"up$|ALERTS$|(rollguard|rollout|alertmanager|prometheus)_")
"""What the control plane, the servers and every exporter say of themselves."""
GROUPED = re.compile(r"\bby \(([^)]*)\)")
COMMAND = re.compile(r"(?:^|`|&& )rollguard ([^`#|&>\n]*)", re.MULTILINE)


def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def by_name(path: Path) -> str:
    return path.stem


def indexed() -> Iterator[tuple[str, str, str, str, str]]:
    """Yield section, alert, page, severity and action of each row of the index."""
    for part in text(INDEX).split("\n## ")[1:]:
        section = part.split("\n", 1)[0]
        for entry in ENTRY.findall(part):
            yield (section, *entry)


def headed(page: str, alert: str, severity: str, action: str) -> bool:
    """Return whether a page names what an alert does: in its first line, or in the table of twins."""
    return (
        f"# {alert}\n\nSeverity {severity} · action {action}" in page
        or f"\n| {alert} | {severity} | {action} |" in page
    )


# The pages


@pytest.mark.parametrize("path", ALERTS, ids=by_name)
def test_a_page_has_its_sections_in_order(path: Path) -> None:
    found = re.findall(r"^## (.*)$", text(path), re.MULTILINE)
    assert text(path).startswith(f"# {path.stem}\n\n")
    assert [name for line in found for name in HEADINGS if line.startswith(name)] == list(HEADINGS)


@pytest.mark.parametrize("path", ALERTS, ids=by_name)
def test_a_page_is_read_in_two_minutes(path: Path) -> None:
    assert len(FENCED.sub("", text(path)).split()) <= MOST_WORDS


def test_the_index_has_exactly_the_pages() -> None:
    assert {page for _, _, page, _, _ in indexed()} | {NO_DATA} == {path.stem for path in ALERTS}


@pytest.mark.parametrize(("section", "alert", "page", "severity", "action"), list(indexed()))
def test_index_and_page_agree(section: str, alert: str, page: str, severity: str, action: str) -> None:
    assert alert in {page, f"{page}Critical"}
    assert headed(text(RUNBOOKS / f"{page}.md"), alert, severity, action)


# The alerts


@pytest.mark.parametrize(("rollout", "guard"), SHIPPED, ids=lambda item: item.name)
def test_every_shipped_guard_has_its_runbook(rollout: Rollout, guard: Guard) -> None:
    page = text(RUNBOOKS / f"{runbook(rollout, guard)}.md")
    assert headed(page, guard.alert, guard.severity, guard.action)
    for parameters in guard.bindings:
        if metric := parameters.get("metric"):
            assert Series.parse(str(metric)).name in page
    entry = (guard.alert, runbook(rollout, guard), guard.severity, guard.action)
    assert {(rollout.name, *entry), (SHARED, *entry)} & set(indexed())


def test_no_page_is_without_an_alert() -> None:
    guarded = {NO_DATA, *(runbook(rollout, guard) for rollout, guard in SHIPPED)}
    assert {path.stem for path in ALERTS} == guarded | {alert.alert for alert in platform_alerts()}


def where_armed(rollout: Rollout, guard: Guard) -> str:
    """Return in words where an alert acts, by any of the guards that share it."""
    every = (*(stage.name for stage in rollout.stages), ENABLED)
    acting = [other for other in rollout.guards if other.alert == guard.alert]
    armed = tuple(stage for stage in every if any(other.armed_in(stage) for other in acting))
    if armed == every:
        return "in every stage and once the release is enabled"
    if armed == every[-len(armed) :]:
        return f"from {armed[0]} on"
    *others, last = armed
    return f"in {', '.join(others)} and {last}" if others else f"in {last}"


@pytest.mark.parametrize(("rollout", "guard"), SHIPPED, ids=lambda item: item.name)
def test_a_page_says_where_the_alert_acts(rollout: Rollout, guard: Guard) -> None:
    first = text(RUNBOOKS / f"{runbook(rollout, guard)}.md").split("\n## ")[0]
    assert re.search(rf"[aA]rmed {re.escape(where_armed(rollout, guard))}$", first, re.MULTILINE)


@pytest.mark.parametrize("alert", platform_alerts(), ids=lambda alert: alert.alert)
def test_every_platform_alert_has_its_runbook(alert: PlatformAlert) -> None:
    assert headed(text(RUNBOOKS / f"{alert.alert}.md"), alert.alert, alert.severity, alert.action)
    assert (PLATFORM, alert.alert, alert.alert, alert.severity, alert.action) in set(indexed())


@pytest.mark.parametrize(("rollout", "guard"), SHIPPED, ids=lambda item: item.name)
def test_whoever_was_rolled_back_reads_how_to_start_anew(rollout: Rollout, guard: Guard) -> None:
    if guard.action == "rollback":
        resume = text(RUNBOOKS / f"{runbook(rollout, guard)}.md").split("\n## Resume\n")[1]
        assert "cooldown" in resume
        assert re.search(rf"`rollguard start ({rollout.name}|ROLLOUT)`", resume)


# What the pages tell people to run


@pytest.mark.parametrize("path", PAGES, ids=by_name)
def test_every_command_exists(path: Path) -> None:
    for line in COMMAND.findall(text(path)):
        words = re.sub(r'"[^"]*"|\[[^\]]*\]', "", line).split()
        command: click.Command = cli
        while isinstance(command, click.Group):
            name = words.pop(0)
            found = command.get_command(click.Context(command), name)
            assert found is not None, f"rollguard {line}"
            command = found
        options = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options, f"rollguard {line}"


@pytest.mark.parametrize("path", PAGES, ids=by_name)
def test_every_query_reads_what_is_offered(path: Path) -> None:
    queries = QUERY.findall(text(path))
    assert len(queries) == text(path).count("promtool query"), "not in the form that is looked for"
    for query in queries:
        grouped = {label for labels in GROUPED.findall(query) for label in labels.split(", ")}
        for one in syntax.parse(query).selectors:
            if not OWN.match(one.metric):
                assert one.metric in OFFERED
                assert {matcher.label for matcher in one.matchers} | grouped <= OFFERED[one.metric]
