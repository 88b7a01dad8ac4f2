"""Each check says where a mistake is, what it is and how to mend it; a right file finds it silent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rollguard.generators import checks, output
from rollguard.generators.checks import (
    budget,
    conventions,
    coverage,
    drift,
    falsifiable,
    metrics,
    runbooks,
    stages,
    timing,
    units,
    variants,
    versions,
)
from rollguard.generators.checks.context import CheckContext, Finding, LoadedRollout
from rollguard.generators.rule_tests.coverage import GuardCoverage, Kind
from rollguard.metric import Metric
from rollguard.spec.loading import load_rollout
from rollguard.spec.rollout import Guard
from rollguard.yamlfile import read

RIGHT = """\
rollout: checkout
title: A new checkout
owner: shop
scrape:
  job: checkout
  targets: ["127.0.0.1:8000"]
flag: {key: checkout, variants: {new: true, old: false}, serve: new, fallback: old}
stages:
  - {name: canary, percent: 10}
  - {name: full, percent: 100}
guards:
  - alert: ErrorsHigh
    use: threshold
    with:
      metric: error_ratio{route="pay"}
      above: 0.05
    for: 30s
    severity: critical
    action: rollback
  - alert: CrashSeen
    use: increases
    with: {metric: crashes_total, window: 5m}
    severity: warning
    action: hold
advance:
  - {name: calm, when: end, expr: 'error_ratio{route="pay"} < 0.02'}
rollback:
  within: 2m
targets:
  - yaml-file:
      path: app.yml
      values:
        fallback: {mode: old}
        canary: {mode: new}
        full: {mode: new}
traffic:
  error_ratio: {mean: 0.001}
"""
OFFERED = (
    Metric("error_ratio", "gauge", "Errors.", ("route",), "ratio"),
    Metric("crashes_total", "counter", "Crashes."),
    Metric("latency_seconds", "histogram", "Latency.", ("route",), "seconds"),
)

Check = Callable[[CheckContext], Iterator[Finding]]
Make = Callable[..., CheckContext]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Return a function that makes the material of a file in which some texts are replaced."""

    def of(*changes: tuple[str, str], offered: tuple[Metric, ...] | None = OFFERED) -> CheckContext:
        text = RIGHT
        for old, new in changes:
            assert old in text
            text = text.replace(old, new, 1)
        path = tmp_path / "checkout.yaml"
        path.write_text(text, encoding="utf-8")
        (tmp_path / "out").mkdir(exist_ok=True)
        checked = LoadedRollout(load_rollout(path), read(path), offered)
        return CheckContext([checked], tmp_path / "out", runbooks=tmp_path / "runbooks")

    return of


def said(check: Check, material: CheckContext) -> list[str]:
    """Return findings as ``severity line key message``."""
    return [
        f"{found.severity} {found.problem.line} {found.problem.key} {found.problem.message}"
        for found in check(material)
    ]


def only(check: Check, material: CheckContext) -> Finding:
    (found,) = check(material)
    return found


@pytest.mark.parametrize(
    "check",
    [check for name, check in checks.CHECKS.items() if name not in ("rules", "routes", "runbooks")],
)
def test_a_file_that_is_right_finds_every_check_silent(check: Check, make: Make) -> None:
    assert said(check, make()) == []


# falsifiable


def test_a_criterion_that_always_holds_has_a_caret_and_a_hint(make: Make) -> None:
    found = only(falsifiable.check, make(('error_ratio{route="pay"} <', 'error_ratio{route="pay"} < bool')))
    assert (found.severity, found.problem.line, found.problem.key) == ("error", 26, "advance[0].expr")
    assert found.problem.message.splitlines() == [
        "always holds: bool yields 0 where the comparison fails, and 0 is a sample, too.",
        '    error_ratio{route="pay"} < bool 0.02',
        "                               ^",
    ]
    assert found.problem.hint == "Take out bool, and compare series in place of scalars."


def test_a_guard_that_always_fires_is_an_error(make: Make) -> None:
    own = (
        "    metrics: {m: crashes_total}\n    expr: << m | now >> or vector(0)\n    condition: always\n"
        "    tests:\n      - {case: fires, about: always}\n"
    )
    template = "    use: increases\n    with: {metric: crashes_total, window: 5m}\n"
    found = only(falsifiable.check, make((template, own)))
    assert found.problem.key == "guards[1].expr"
    assert found.problem.message.startswith("fires whenever there is data: last_over_time(crashes_total")


def test_what_is_joined_endlessly_is_an_error_and_no_crash(make: Make) -> None:
    long = "'x" + " or x" * 800 + "'"
    found = only(falsifiable.check, make(("'error_ratio{route=\"pay\"} < 0.02'", long)))
    assert found.problem.key == "advance[0].expr"


# metrics


def test_a_metric_that_nobody_offers_is_named_with_the_nearest(make: Make) -> None:
    found = only(
        metrics.check,
        make(("metric: crashes_total", "metric: crash_total"), ('error_ratio{route="pay"} <', "1 <")),
    )
    assert found.severity == "error"
    assert (found.problem.line, found.problem.key) == (22, "guards[1].with.metric")
    assert found.problem.message == "reads crash_total, which nobody offers."
    assert found.problem.hint == "Did you mean crashes_total?"


def test_a_label_that_the_metric_lacks_is_named_with_those_it_has(make: Make) -> None:
    found = only(metrics.check, make(('error_ratio{route="pay"}\n', 'error_ratio{rout="pay"}\n')))
    assert (found.problem.line, found.problem.key) == (15, "guards[0].with.metric")
    assert found.problem.message == "error_ratio has no label rout; known: route."
    assert found.problem.hint == "Did you mean route?"


def test_criteria_are_checked_too(make: Make) -> None:
    found = only(metrics.check, make(("expr: 'error_ratio", "expr: 'eror_ratio")))
    assert (found.problem.line, found.problem.key) == (26, "advance[0].expr")


@pytest.mark.parametrize(
    "expr",
    [
        'rate(latency_seconds_bucket{le="0.5",route="pay"}[5m]) > 0',
        "latency_seconds_count > 1 and on (rollout) rollout_percent > 5",
        'up{job="checkout",instance=~".+"} == 1',
        'rollguard_rules_info{digest=~".+"} == 1',
    ],
    ids=["a histogram's buckets", "the control plane's", "Prometheus's own", "a recording rule's"],
)
def test_what_others_offer_is_known(expr: str, make: Make) -> None:
    assert said(metrics.check, make(('error_ratio{route="pay"} < 0.02', expr))) == []


def test_a_histogram_has_no_series_of_its_bare_name(make: Make) -> None:
    assert "reads latency_seconds" in said(metrics.check, make(("crashes_total", "latency_seconds")))[0]


def test_without_exporter_and_exposition_one_note_says_so(make: Make) -> None:
    found = only(metrics.check, make(offered=None))
    assert (found.severity, found.problem.line, found.problem.key) == ("note", 4, "scrape")


EXPOSITION = """\
# HELP error_ratio Errors.
# TYPE error_ratio gauge
error_ratio{route="pay"} 0.01
# HELP crashes_total Crashes.
# TYPE crashes_total counter
crashes_total 0
"""
OFFERS = ("  job: checkout\n", "  job: checkout\n  offers: saved.prom\n")


def test_a_saved_exposition_offers_what_it_holds(make: Make, tmp_path: Path) -> None:
    (tmp_path / "saved.prom").write_text(EXPOSITION)
    assert said(metrics.check, make(OFFERS, offered=None)) == []
    changes = [OFFERS, ("metric: crashes_total", "metric: crash_total")]
    assert "reads crash_total" in said(metrics.check, make(*changes, offered=None))[0]


def test_a_label_that_a_saved_exposition_lacks_may_be_the_targets(make: Make, tmp_path: Path) -> None:
    (tmp_path / "saved.prom").write_text(EXPOSITION)
    changes = [OFFERS, ('error_ratio{route="pay"}\n', 'error_ratio{cluster="a"}\n')]
    assert only(metrics.check, make(*changes, offered=None)).severity == "warning"


@pytest.mark.parametrize(
    ("text", "words"),
    [(None, "cannot be read"), ("<html>no metrics</html>\n", "is no exposition"), ("", "has no metric")],
    ids=["missing", "something else", "empty"],
)
def test_a_saved_exposition_that_is_none_is_said(
    text: str | None, words: str, make: Make, tmp_path: Path
) -> None:
    if text is not None:
        (tmp_path / "saved.prom").write_text(text)
    found = only(metrics.check, make(OFFERS, offered=None))
    assert (found.problem.line, found.problem.key) == (6, "scrape.offers")
    assert words in found.problem.message


# variants

SPLIT = tuple(replace(metric, labels=(*metric.labels, "variant")) for metric in OFFERED)


def test_a_guard_that_adds_the_exposed_and_the_others_is_warned_of(make: Make) -> None:
    exact = ('error_ratio{route="pay"} < 0.02', 'error_ratio{route="pay",variant="exposed"} < 0.02')
    changes = [('error_ratio{route="pay"}\n', 'error_ratio{variant="exposed"}\n'), exact]
    found = only(variants.check, make(*changes, offered=SPLIT))
    assert (found.severity, found.problem.line, found.problem.key) == ("warning", 22, "guards[1].with.metric")
    assert (
        found.problem.message
        == "reads crashes_total of every variant: the exposed are lost among the others."
    )
    assert 'crashes_total{variant="exposed"}' in found.problem.hint


def test_a_criterion_that_adds_them_is_warned_of_too(make: Make) -> None:
    expr = (
        "sum(increase(latency_seconds_count[5m])) > 0 and histogram_quantile(0.9, latency_seconds_bucket) < 1"
    )
    changed = make(('error_ratio{route="pay"} < 0.02', expr), offered=SPLIT)
    places = [(found.problem.line, found.problem.key) for found in variants.check(changed)]
    assert places == [(22, "guards[1].with.metric"), (15, "guards[0].with.metric"), (26, "advance[0].expr")]


def test_a_saved_exposition_tells_of_variants_too(make: Make, tmp_path: Path) -> None:
    saved = EXPOSITION.replace("crashes_total 0", 'crashes_total{variant="exposed"} 0')
    (tmp_path / "saved.prom").write_text(saved)
    assert only(variants.check, make(OFFERS, offered=None)).problem.key == "guards[1].with.metric"


# units


def test_a_ratio_given_as_percent_is_found_by_its_metric(make: Make) -> None:
    found = only(units.check, make(("above: 0.05", "above: 5")))
    assert (found.problem.line, found.problem.key) == (16, "guards[0].with.above")
    assert found.problem.message == "holds error_ratio, a ratio of 0\u20131, to 5: given as percent?"
    assert found.problem.hint == "Write 0.05 for 5 %."


def test_a_criterion_given_as_percent_is_found(make: Make) -> None:
    assert only(units.check, make(("< 0.02", "< 2"))).problem.key == "advance[0].expr"


@pytest.mark.parametrize("limit", ["above: 1", "above: 0.999", "above: 250"])
def test_what_cannot_be_a_percentage_is_let_be(limit: str, make: Make) -> None:
    assert said(units.check, make(("above: 0.05", limit))) == []


def test_a_unit_that_is_not_the_metrics_is_said(make: Make) -> None:
    found = only(
        units.check,
        make(("above: 0.05\n", 'above: 0.05\n      unit: " ms"\n')),
    )
    assert (found.problem.line, found.problem.key) == (17, "guards[0].with.unit")
    assert "is in ratio" in found.problem.message


# timing


def test_a_for_shorter_than_the_interval_is_an_error(make: Make) -> None:
    found = only(timing.check, make(("for: 30s", "for: 5s")))
    assert (found.problem.line, found.problem.key) == (17, "guards[0].for")
    assert found.problem.message == "is 5s, shorter than the scrape interval of 15s."


def test_a_window_that_holds_one_sample_shows_no_increase(make: Make) -> None:
    found = only(timing.check, make(("window: 5m", "window: 20s")))
    assert (found.problem.line, found.problem.key) == (22, "guards[1].with.window")
    assert "less than 2 scrape intervals" in found.problem.message


def test_a_criterions_window_is_looked_at_too(make: Make) -> None:
    changed = make(('error_ratio{route="pay"} < 0.02', "avg_over_time(error_ratio[10s]) < 0.02"))
    assert only(timing.check, changed).problem.key == "advance[0].expr"


# versions


@pytest.mark.parametrize(
    ("expr", "message"),
    [
        (
            'rate(latency_seconds_bucket{le="1",route="pay"}[5m]) > 0',
            'selects le="1", which Prometheus 3 stores as 1.0.',
        ),
        (
            "holt_winters(error_ratio[5m], 0.5, 0.5) > 1",
            "calls holt_winters, which Prometheus 3 does not know.",
        ),
    ],
)
def test_what_prometheus_3_reads_otherwise_is_a_warning(make: Make, expr: str, message: str) -> None:
    found = only(versions.check, make(("expr: 'error_ratio", f"expr: '{expr} or error_ratio")))
    assert (found.severity, found.problem.key) == ("warning", "advance[0].expr")
    assert found.problem.message == message


# conventions

RULE = {
    "alert": "ErrorsHigh",
    "labels": {"severity": "critical"},
    "annotations": {
        "summary": "Errors are many.",
        "description": "Value {{ $value }}.",
        "runbook_url": "docs/runbooks/ErrorsHigh.md",
    },
}


def changed(**texts: str) -> dict[str, object]:
    return {**RULE, "annotations": {**RULE["annotations"], **texts}}  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("rule", "key"),
    [
        ({**RULE, "alert": "errorsHigh"}, "alert"),
        ({**RULE, "alert": "E" * 41}, "alert"),
        ({**RULE, "labels": {"severity": "page"}}, "severity"),
        (changed(summary="errors are many."), "summary"),
        (changed(summary="Errors are many"), "summary"),
        (changed(summary="Errors are {{ $value }}."), "summary"),
        (changed(description="Errors."), "description"),
        (changed(runbook_url=""), "runbook_url"),
    ],
    ids=["lower case", "long", "severity", "no capital", "no stop", "template", "no value", "no runbook"],
)
def test_each_convention_is_held(rule: dict[str, object], key: str) -> None:
    assert [found for found, _ in conventions.broken(rule)] == [key]


def test_a_rule_that_keeps_every_convention_is_let_be() -> None:
    assert list(conventions.broken(RULE)) == []


def test_a_summary_of_ones_own_is_shown_at_its_line(make: Make) -> None:
    found = only(conventions.check, make(("    for: 30s", "    summary: too many errors\n    for: 30s")))
    assert (found.problem.line, found.problem.key) == (17, "guards[0].summary")


# stages


def test_a_share_that_falls_is_doubted(make: Make) -> None:
    found = only(stages.check, make(("percent: 100", "percent: 5")))
    assert (found.severity, found.problem.line, found.problem.key) == ("warning", 10, "stages[1].percent")


def test_a_rollout_that_never_rolls_back_is_doubted(make: Make) -> None:
    assert only(stages.check, make(("action: rollback", "action: hold"))).problem.key == "guards"


def test_a_fallback_that_leaves_a_key_as_a_stage_set_it_is_doubted(make: Make) -> None:
    found = only(stages.check, make(("canary: {mode: new}", "canary: {mode: new, share: 0.1}")))
    assert found.problem.key == "targets[0].yaml-file.values.fallback"
    assert "does not set share" in found.problem.message


# runbooks


def test_a_missing_page_is_an_error_of_the_guard(make: Make, tmp_path: Path) -> None:
    (tmp_path / "runbooks").mkdir()
    (tmp_path / "runbooks" / "ErrorsHigh.md").write_text("What to do.")
    errors = [found for found in runbooks.check(make()) if found.severity == "error"]
    assert [(found.problem.line, found.problem.key) for found in errors] == [(20, "guards[1].alert")]


def test_pages_of_rollguards_own_alerts_are_only_missed(make: Make, tmp_path: Path) -> None:
    (tmp_path / "runbooks").mkdir()
    found = {
        Path(str(item.problem.path)).name for item in runbooks.check(make()) if item.severity == "warning"
    }
    assert {"NoData.md", "Watchdog.md"} <= found


def test_without_a_folder_of_runbooks_one_note_says_so(make: Make) -> None:
    assert only(runbooks.check, make()).severity == "note"


# coverage, budget, drift


def test_a_kind_of_test_that_is_missing_is_said(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def of_cases(rollout: str, guard: Guard, _: object) -> GuardCoverage:
        missing: dict[Kind, str] = {"fires": "no case fires"} if guard.name == "ErrorsHigh" else {}
        return GuardCoverage(rollout, guard.name, ("fires",), missing)

    monkeypatch.setattr("rollguard.generators.rule_tests.coverage.of_cases", of_cases)
    found = only(coverage.check, make())
    assert found.problem.message == "ErrorsHigh has no test of the kind fires: no case fires."
    assert found.problem.line == 12


def test_a_rollback_that_may_come_late_is_an_error_at_the_limit(make: Make) -> None:
    found = only(budget.check, make(("within: 2m", "within: 50s")))
    assert (found.problem.line, found.problem.key) == (28, "rollback.within")
    assert "ErrorsHigh may take 1m1" in found.problem.message


def test_a_for_that_is_longer_than_the_limit_is_the_place(make: Make) -> None:
    found = only(budget.check, make(("for: 30s", "for: 10m")))
    assert (found.problem.line, found.problem.key) == (17, "guards[0].for")


def test_a_generated_file_that_is_out_of_date_is_named(make: Make, tmp_path: Path) -> None:
    material = make()
    folder = tmp_path / "generated"
    output.write(output.generate(material.rollouts), folder)
    assert said(drift.check, replace(material, generated=folder)) == []
    (folder / "rules" / "checkout.rules.yml").write_text("groups: []\n")
    found = only(drift.check, replace(material, generated=folder))
    assert found.problem.path == folder / "rules" / "checkout.rules.yml"
