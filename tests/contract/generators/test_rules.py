"""Rendered rules in a real promtool: their tests pass, and notice when a rule is broken."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from click.testing import CliRunner

from rollguard.cli.main import cli
from rollguard.generators import output
from rollguard.generators.mutation import run
from rollguard.generators.mutation.outcomes import Figures
from rollguard.generators.rule_tests.coverage import coverage
from rollguard.generators.rule_tests.files import cases
from rollguard.generators.rule_tests.files import test_files as rendered_tests
from rollguard.generators.rules.alerting import labels, rule_file
from rollguard.generators.rules.timing import Timing
from rollguard.generators.tools import binaries, promtool, test_runs
from rollguard.spec.guards import all_guards
from rollguard.spec.loading import load_rollout, load_rollouts
from rollguard.spec.rollout import Guard, Rollout
from rollguard.spec.templates import library
from rollguard.yamlfile import read
from tests import versions
from tests.factories import ROOT

Rule: TypeAlias = dict[str, Any]
Write: TypeAlias = Callable[..., list[Path]]

THRESHOLD = {"use": "threshold"}
TRAILS = {"use": "trails-baseline"}
INCREASES = {"use": "increases"}
ABSENT = {"use": "absent"}
OBJECTIVE = {"objective": 0.999}
SAMPLE = {"sample": "n", "min_sample": 500}

GUARDS: dict[str, dict[str, Any]] = {
    "below": {**THRESHOLD, "with": {"metric": "m", "below": 0.5}},
    "below-for": {**THRESHOLD, "with": {"metric": "m", "below": 0.5}, "for": "10m"},
    "above-sample": {**THRESHOLD, "with": {"metric": "m", "above": 0.05, **SAMPLE}},
    "negative": {**THRESHOLD, "with": {"metric": "m", "below": -250}},
    "zero": {**THRESHOLD, "with": {"metric": "m", "above": 0}},
    "tiny": {**THRESHOLD, "with": {"metric": "m", "above": 2e-13}},
    "huge": {**THRESHOLD, "with": {"metric": "m", "above": 3e15}},
    "outside": {**THRESHOLD, "with": {"metric": "m", "below": -1, "above": 2, **SAMPLE}, "for": "5m"},
    "average": {
        **THRESHOLD,
        "with": {"metric": "m", "above": 0.3, "aggregate": "average", "window": "30m"},
    },
    "maximum-matchers": {
        **THRESHOLD,
        "with": {
            "metric": 'm{route="can\\"ary",symbol=~"A|B",side!="sell"}',
            "above": 0.3,
            "aggregate": "maximum",
            "window": "30m",
        },
    },
    "staged": {**THRESHOLD, "with": {"metric": "m", "below": 0.5}, "stages": ["canary", "full"], "for": "1m"},
    "clocked": {**THRESHOLD, "with": {"metric": "m", "below": 0.5}, "clock": {"zone": "UTC"}, "for": "1m"},
    "either": {
        **THRESHOLD,
        "with": [{"metric": "m", "above": 0.3, **SAMPLE}, {"metric": "k", "above": 0.2}],
        "for": "2m",
    },
    "trails": {**TRAILS, "with": {"metric": "m", "baseline": "b", "delta_ratio": 0.05}},
    "trails-sample": {
        **TRAILS,
        "with": {"metric": "m", "baseline": "b", "delta_ratio": 0.07, **SAMPLE},
        "stages": ["canary"],
        "for": "30s",
    },
    "trails-nothing": {**TRAILS, "with": {"metric": "m", "baseline": "b", "delta_ratio": 0}},
    "trails-higher": {
        **TRAILS,
        "with": {"metric": "m", "baseline": "b", "delta_ratio": 0.01, "worse": "higher", **SAMPLE},
    },
    "trails-average": {
        **TRAILS,
        "with": {"metric": "m", "baseline": "b", "delta_ratio": 0.05, "window": "30m"},
    },
    "trails-by": {**TRAILS, "with": {"metric": "m", "baseline": "b", "delta_ratio": 0.05, "by": "regime, x"}},
    "at-most": {**THRESHOLD, "with": {"metric": "m", "at_most": 0, "above": 0.3}},
    "at-least": {**THRESHOLD, "with": {"metric": "m", "at_least": 5, "unit": " points"}},
    "at-most-average": {
        **THRESHOLD,
        "with": {"metric": "m", "at_most": 0.3, "aggregate": "average", "window": "10m"},
    },
    "baseline": {**THRESHOLD, "with": {"metric": "m", "baseline": "b", "above": 1.2, **SAMPLE}},
    "baseline-by": {
        **THRESHOLD,
        "with": {
            "metric": 'm{split="test"}',
            "baseline": "b",
            "by": "symbol, horizon",
            "below": 0.92,
            "above": 1.08,
        },
    },
    "deviation": {
        **THRESHOLD,
        "with": {"metric": "m", "above": 0.1, "aggregate": "deviation", "window": "1d"},
    },
    "increases-baseline": {
        **INCREASES,
        "with": {"metric": "c_total", "by_more_than": 2, "baseline": "b", "window": "1h"},
    },
    "compare": {
        "use": "compare",
        "with": {"bad": 'e_total{code=~"5.."}', "total": "e_total", "cluster": "none"},
        "stages": ["canary"],
    },
    "compare-features": {
        "use": "compare",
        "with": {
            "values": "feature_total",
            "worse": "moved",
            "each": "feature",
            "cluster": "unit",
            "alpha": 0.001,
        },
        "stages": ["canary"],
    },
    "limit-good": {"use": "limit", "with": {"good": "up_total", "total": "checks_total", "below": 0.99}},
    "existing": {"use": "existing", "with": {"alert": 'HighErrorRate{service="shop"}'}},
    "increases": {**INCREASES, "with": {"metric": "c_total", "window": "10m"}},
    "increases-much": {**INCREASES, "with": {"metric": "c_total", "by_more_than": 7}, "for": "1m"},
    "ratio-above": {
        "use": "ratio",
        "with": {"numerator": "e_total", "denominator": "r_total", "above": 0.05, "min_denominator": 20},
        "for": "5m",
    },
    "ratio-below": {
        "use": "ratio",
        "with": {
            "numerator": 'x_total{result="ok"}',
            "denominator": "x_total",
            "below": 0.95,
            "window": "1h",
        },
    },
    "ratio-outside": {
        "use": "ratio",
        "with": {"numerator": "e_total", "denominator": "r_total", "below": 0.05, "above": 0.15},
    },
    "quantile": {
        "use": "quantile",
        "with": {"metric": "d_seconds", "above": 2, "min_count": 30},
        "for": "1m",
    },
    "quantile-baseline": {
        "use": "quantile",
        "with": {"metric": "d_seconds", "baseline": "b_seconds", "times": 1.5, "window": "10m"},
    },
    "burn-rate": {
        "use": "burn-rate",
        "with": [
            {"ratio": "u_ratio", **OBJECTIVE, "factor": 3, "long": "5m", "short": "75s"},
            {"ratio": "u_ratio", **OBJECTIVE, "factor": 1, "long": "15m", "short": "225s"},
        ],
    },
    "burn-rate-lax": {
        "use": "burn-rate",
        "with": {"ratio": "u_ratio", "objective": 0.95, "factor": 14.4, "long": "20m", "short": "5m"},
        "for": "2m",
    },
    "burn-rate-counters": {
        "use": "burn-rate",
        "with": [
            {"bad": "e_total", "total": "r_total", **OBJECTIVE, "factor": 3, "long": "5m", "short": "75s"},
            {"bad": "e_total", "total": "r_total", **OBJECTIVE, "factor": 1, "long": "15m", "short": "225s"},
        ],
    },
    "burn-rate-part": {
        "use": "burn-rate",
        "with": {
            **{"bad": 'r_total{result="error"}', "total": "r_total", "min_total": 300},
            **{"objective": 0.99, "factor": 14.4, "long": "10m", "short": "2m"},
        },
        "for": "1m",
    },
    "harm-budget": {
        "use": "harm-budget",
        "with": {"bad": "e_total", "total": "r_total", "accepted_ratio": 0.01, "budget": 50, "window": "1h"},
    },
    "harm-budget-baseline": {
        "use": "harm-budget",
        "with": {
            **{"bad": 'r_total{variant="on",result="error"}', "total": 'r_total{variant="on"}'},
            **{"baseline_bad": 'r_total{variant="off",result="error"}'},
            **{"baseline_total": 'r_total{variant="off"}', "budget": 0, "window": "30m"},
        },
        "for": "1m",
    },
    "changes": {"use": "changes", "with": {"metric": "m", "window": "1h"}},
    "changes-since": {
        "use": "changes",
        "with": {"metric": "m", "more_than": 2, "window": "1h", "since": "t_seconds", "within": "24h"},
        "stages": ["canary"],
    },
    "no-data": {
        "use": "no-data",
        "with": [{"metric": "m"}, {"metric": "n"}],
    },
    "no-data-beside": {
        "use": "no-data",
        "with": {"metric": 'm{arm="off"}', "beside": 'm{arm="on"}', **SAMPLE},
    },
    "no-data-sample": {"use": "no-data", "with": {"metric": "m", **SAMPLE}, "for": "1m"},
    "no-data-by": {
        "use": "no-data",
        "with": [
            {"metric": "n", "by": "symbol, x"},
            {"metric": "m", "by": "symbol, x", **SAMPLE},
            {"metric": "b", "by": "symbol, x", "beside": "m"},
        ],
    },
    "no-data-number": {
        "use": "no-data",
        "with": [{"number": 'm{route="x"}'}, {"number": "k", "aggregate": "average", "span": "30m"}],
        "for": "1m",
    },
    "no-traffic": {"use": "no-data", "with": {"counter": "c_total", "window": "1h"}},
    "several-series": {"use": "no-data", "with": {"single": "b"}, "for": "1m"},
    "absent": {**ABSENT, "with": {"metric": "m"}},
    "absent-for": {**ABSENT, "with": {"metric": 'm{route="x"}', "window": "90s"}, "for": "5m"},
}


WATCHED_FOR_NO_DATA = (
    "below", "either", "staged", "clocked", "trails-sample", "trails-by", "ratio-above", "quantile-baseline",
    "burn-rate-lax", "compare",
)  # fmt: skip
AT_A_TIME_SCALE = ("outside", "staged", "trails-sample", "deviation", "ratio-above", "quantile", "existing",
                   "increases-much", "changes-since", "no-data", "absent-for")  # fmt: skip


@pytest.fixture(scope="module")
def binary(need_binary: Callable[[binaries.Binary], str]) -> str:
    return need_binary(binaries.PROMTOOL)


@pytest.fixture(scope="module")
def shipped() -> Rollout:
    return load_rollout(ROOT / "rollouts" / "model-canary.yaml")


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write rules and tests where they find one another, and return the tests' path."""

    def to_files(
        rollout: Rollout, timing: Timing, change: Callable[[Rule], Rule] = lambda rule: rule
    ) -> list[Path]:
        rules, tests = rule_file(rollout, timing), rendered_tests(rollout, timing, cases)
        for group in rules["groups"]:
            group["rules"] = [change(rule) if "alert" in rule else rule for rule in group["rules"]]
        place = tmp_path / str(len(list(tmp_path.iterdir())))
        files = {f"rules/{rollout.name}.rules.yml": rules}
        files |= {f"tests/{name}": content for name, content in tests.items()}
        for name, content in files.items():
            path = place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(content), encoding="utf-8")
        return sorted(place.glob("tests/*"))

    return to_files


def with_guard(rollout: Rollout, name: str) -> Rollout:
    no_data = "hold" if name in WATCHED_FOR_NO_DATA else "ignore"
    common = {"alert": "Watched", "severity": "critical", "action": "rollback", "no_data": no_data}
    guard = Guard.model_validate({**common, **GUARDS[name]})
    return rollout.model_copy(update={"guards": (guard,)})


def passes(binary: str, paths: list[Path]) -> bool:
    command = [binary, "test", "rules", *map(str, paths)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def refused(binary: str, *arguments: str) -> str:
    """Return what a check said, or nothing where it was content."""
    done = subprocess.run([binary, *arguments], capture_output=True, text=True, check=False)
    return f"{done.stdout}{done.stderr}" if done.returncode else ""


# Every template, with many parameters


def test_every_template_is_among_the_parameter_sets() -> None:
    assert {guard["use"] for guard in GUARDS.values()} == set(library())


@pytest.mark.parametrize("version", versions.OTHERS_SLOW)
@pytest.mark.parametrize("name", GUARDS)
def test_rendered_tests_pass(
    shipped: Rollout, write: Write, name: str, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions.use(monkeypatch, version, binaries.PROMTOOL)
    results = test_runs.run_tests(write(with_guard(shipped, name), Timing()))
    assert [result.output for result in results if not result.passed] == []


@pytest.mark.parametrize("name", AT_A_TIME_SCALE)
def test_rendered_tests_pass_at_a_time_scale(binary: str, shipped: Rollout, write: Write, name: str) -> None:
    assert passes(binary, write(with_guard(shipped, name), Timing(60.0)))


@pytest.mark.parametrize("name", GUARDS)
def test_rendered_rules_are_accepted_without_a_remark(
    binary: str, shipped: Rollout, write: Write, name: str
) -> None:
    path, *_ = write(with_guard(shipped, name), Timing())
    assert [
        str(problem) for file in promtool.rule_files(path) for problem in promtool.check_rules(file)
    ] == []


@pytest.mark.parametrize("name", GUARDS)
def test_rendered_tests_are_not_falsely_green(shipped: Rollout, write: Write, name: str) -> None:
    assert promtool.falsely_green(write(with_guard(shipped, name), Timing())) == []


# Broken rules


_OF_EACH_TEMPLATE = {guard["use"]: name for name, guard in reversed(GUARDS.items())}.values()
_BROKEN = [
    name if name in _OF_EACH_TEMPLATE else pytest.param(name, marks=pytest.mark.slow) for name in GUARDS
]


@pytest.mark.parametrize("name", _BROKEN)
def test_rendered_tests_notice_a_broken_rule(binary: str, shipped: Rollout, name: str) -> None:
    rollout = with_guard(shipped, name)
    subject, *_ = run.subjects(ROOT / "rollouts" / "model-canary.yaml", rollout, Timing())
    outcomes = run.outcomes(subject)
    assert [outcome for outcome in outcomes if outcome.status in {"survived", "falsely declared"}] == []
    assert Figures.of(outcomes).killed >= 3


def test_rendered_tests_notice_another_action(binary: str, shipped: Rollout, write: Write) -> None:
    def other(rule: Rule) -> Rule:
        return {**rule, "labels": {**rule["labels"], "action": "notify"}}

    assert not passes(binary, write(with_guard(shipped, "below"), Timing(), other))


@pytest.mark.parametrize("name", GUARDS)
def test_rendered_tests_are_of_every_kind(shipped: Rollout, name: str) -> None:
    assert not any(guard.missing for guard in coverage(with_guard(shipped, name), Timing()))


# What promtool says of what is wrong


def test_a_rule_that_promtool_refuses_names_its_guard(binary: str, shipped: Rollout, write: Write) -> None:
    (path,) = write(with_guard(shipped, "below"), Timing(), lambda rule: {**rule, "expr": "m <"})
    (file,) = promtool.rule_files(path)
    assert {problem.key for problem in promtool.check_rules(file)} == {"guard Watched", "guard WatchedNoData"}


def test_a_test_that_fails_is_attributed_to_its_guard(binary: str, shipped: Rollout, write: Write) -> None:
    def later(rule: Rule) -> Rule:
        return {**rule, "for": "1h"} if rule["alert"] == "WinRateDrop" else rule

    two = tuple(guard.model_copy(update={"no_data": "ignore"}) for guard in shipped.guards[1:3])
    rollout = shipped.model_copy(update={"guards": two})
    results = test_runs.run_tests(write(rollout, Timing(), later))
    assert {result.alerts for result in results if not result.passed} == {("WinRateDrop",)}


def test_a_test_file_that_promtool_refuses_is_a_failure(binary: str, tmp_path: Path) -> None:
    path = tmp_path / "t.yml"
    path.write_text("rule_files: []\ntests: []\nnonsense: 1\n")
    (result,) = test_runs.run_tests([path])
    assert "nonsense" in result.output


@pytest.mark.parametrize(
    "text",
    [
        "rule_files: [none.yml]\ntests: []\n",
        "rule_files: []\ntests:\n  - interval: 15s\n    alert_rule_test:\n"
        "      - {eval_time: 15s, alertname: Nobody, exp_alerts: []}\n",
    ],
    ids=["a missing rule file", "a test of no alert"],
)
def test_promtool_is_content_with_what_is_found_falsely_green(binary: str, tmp_path: Path, text: str) -> None:
    path = tmp_path / "t.yml"
    path.write_text(text)
    assert passes(binary, [path])
    assert promtool.falsely_green([path])


# Configuration


@pytest.fixture(scope="module", params=[1.0, 60.0], ids=["real time", "time scale 60"])
def generated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("generated")
    rollouts = load_rollouts(ROOT / "rollouts")
    output.write(
        output.rules(rollouts, request.param) | output.configuration(rollouts, request.param), folder
    )
    return folder


def test_promtool_accepts_the_configuration_of_prometheus(binary: str, generated: Path) -> None:
    assert refused(binary, "check", "config", str(generated / "prometheus.yml")) == ""


def test_promtool_accepts_every_rule_file(binary: str, generated: Path) -> None:
    for path in sorted(generated.glob("rules/*.yml")):
        assert promtool.check_rules(path) == []


def test_the_shipped_tests_are_not_falsely_green() -> None:
    assert promtool.falsely_green(sorted((ROOT / "alerts" / "generated" / "tests").glob("*.yml"))) == []


def _trading_features() -> list[str]:
    found = (rollout for rollout in load_rollouts(ROOT / "rollouts") if rollout.scrape.exporter)
    return [one.name for one in found if one.scrape.exporter and one.scrape.exporter.kind == "features"]


@pytest.fixture(
    scope="module",
    params=[pytest.param(False, marks=pytest.mark.slow), pytest.param(True, marks=pytest.mark.slow)],
    ids=["one of each kind", "the other trading features"],
)
def shipped_tests(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return the generated tests, each once: many of the six trading features differ in the name only."""
    folder, known, others = tmp_path_factory.mktemp("shipped"), set[str](), _trading_features()[1:]
    for path in sorted((ROOT / "alerts" / "generated" / "tests").glob("*.yml")):
        content = read(path).data
        (file,) = promtool.rule_files(path)
        rules = [rule for group in read(file).data["groups"] for rule in group["rules"]]
        groups, name = [], path.name.partition(".")[0]
        for group in content["tests"]:
            alerts = {alert for alert, _ in promtool.expectations(group)}
            about = [{**rule, "annotations": {}} for rule in rules if rule.get("alert") in alerts]
            form = json.dumps([content["evaluation_interval"], group, about]).replace(name, "a-rollout")
            if form not in known:
                groups.append(group)
            known.add(form)
        if groups and (name in others) == request.param:
            text = json.dumps({**content, "rule_files": [str(file)], "tests": groups})
            (folder / path.name).write_text(text, encoding="utf-8")
    return sorted(folder.iterdir())


@pytest.mark.parametrize("version", versions.OTHERS_SLOW)
def test_the_shipped_tests_pass(
    version: str, shipped_tests: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    versions.use(monkeypatch, version, binaries.PROMTOOL)
    assert [result.output for result in test_runs.run_tests(shipped_tests) if not result.passed] == []


@pytest.mark.parametrize("version", versions.VERSIONS)
def test_the_tests_of_a_new_rollout_pass(
    version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions.use(monkeypatch, version, binaries.PROMTOOL)
    runner = CliRunner()
    assert runner.invoke(cli, ["init", "checkout", "--out", str(tmp_path)]).exit_code == 0
    result = runner.invoke(cli, ["test", "--rollouts", str(tmp_path)])
    assert (result.exit_code, "FAIL" in result.output) == (0, False), result.output


@pytest.mark.slow  # those of each template are above
def test_the_tests_of_a_rollout_pass_at_a_time_scale(binary: str, write: Write, shipped: Rollout) -> None:
    results = test_runs.run_tests(write(shipped, Timing(60.0)))
    assert [result.output for result in results if not result.passed] == []


def test_amtool_accepts_the_configuration_of_alertmanager(
    need_binary: Callable[[binaries.Binary], str], generated: Path
) -> None:
    assert refused(need_binary(binaries.AMTOOL), "check-config", str(generated / "alertmanager.yml")) == ""


_SHIPPED = [
    labels(rollout, guard) for rollout in load_rollouts(ROOT / "rollouts") for guard in all_guards(rollout)
]
_RECEIVERS = {
    "rollback": "rollguard,rollguard-people",
    "hold": "rollguard,rollguard-people",
    "notify": "rollguard-people",
}
_BY_LABELS = {(alert["action"], alert["severity"]): alert for alert in _SHIPPED}


@pytest.mark.parametrize("alert", _BY_LABELS.values(), ids=map("-".join, _BY_LABELS))
def test_what_acts_reaches_the_control_plane_and_a_notice_does_not(
    need_binary: Callable[[binaries.Binary], str], generated: Path, alert: dict[str, str]
) -> None:
    command = ["config", "routes", "test", f"--config.file={generated / 'alertmanager.yml'}"]
    command.append(f"--verify.receivers={_RECEIVERS[alert['action']]}")
    pairs = [f"{name}={value}" for name, value in alert.items()]
    assert refused(need_binary(binaries.AMTOOL), *command, *pairs) == ""


def test_the_shipped_guards_roll_back_hold_and_notify() -> None:
    assert {alert["action"] for alert in _SHIPPED} == {"rollback", "hold", "notify"}
