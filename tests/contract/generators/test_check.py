"""`rollguard check` with the real promtool and amtool: one pass, each mistake at its line, in three forms."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from rollguard.cli.main import cli
from rollguard.generators.tools import binaries
from tests.factories import ROOT

SHIPPED = ROOT / "rollouts" / "model-canary.yaml"
SET = ROOT / "alerts" / "library" / "sets" / "order-execution.yaml"

Run = Callable[..., Result]


def shipped() -> str:
    """Return the shipped file with the guard of its set, which has an expression of its own, written out."""
    guards = SET.read_text(encoding="utf-8").partition("guards:\n")[2].partition("traffic:")[0]
    text, taken = re.subn(
        r"  - set: order-execution.*\n  - \{alert: ExecutionDegradation, (stages: \[.*\])\}\n",
        lambda found: f"{guards}    {found[1]}\n",
        SHIPPED.read_text(encoding="utf-8"),
    )
    assert taken == 1
    return text


@pytest.fixture
def run(
    need_binary: Callable[[binaries.Binary], str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Run:
    """Run the check in a folder of its own, with the file r.yaml: the shipped one, some texts replaced."""
    for binary in (binaries.PROMTOOL, binaries.AMTOOL):
        need_binary(binary)
    monkeypatch.chdir(tmp_path)

    def of(*changes: tuple[str, str], options: tuple[str, ...] = ()) -> Result:
        text = shipped()
        for old, new in changes:
            assert old in text
            text = text.replace(old, new, 1)
        Path("r.yaml").write_text(text, encoding="utf-8")
        return CliRunner().invoke(cli, ["check", "--rollouts", "r.yaml", *options])

    return of


def line_of(text: str) -> int:
    """Return the line of the shipped file that holds a text."""
    return next(number for number, line in enumerate(shipped().splitlines(), 1) if text in line)


def errors(result: Result) -> list[Mapping[str, Any]]:
    return [found for found in json.loads(result.stdout)["findings"] if found["severity"] == "error"]


def test_a_criterion_that_is_no_promql_has_a_caret_at_its_place(run: Run) -> None:
    result = run(("expr: sample_canary >= 500", "expr: sample_canary >= by 500"))
    assert result.exit_code == 1
    here = line_of("enough canary trades")
    assert f"r.yaml:{here}: advance[1].expr is not PromQL: unexpected number" in result.stderr
    shown = result.stderr.splitlines()
    caret = next(index for index, line in enumerate(shown) if line.strip() == "^")
    assert shown[caret - 1][shown[caret].index("^") :].startswith("500")


def test_an_expression_of_a_guard_that_is_no_promql_has_a_caret_and_hides_no_other_guard_s_mistake(
    run: Run,
) -> None:
    result = run(
        (
            "sum by (rollout) (<< high | increase(window) >>) /",
            "sum by (rollout (<< high | increase(window) >>) /",
        ),
        ("metric: rolling_precision", "metric: rolling_precission"),
    )
    shown = result.stderr.splitlines()
    caret = next(index for index, line in enumerate(shown) if line.strip() == "^")
    assert "guards[8].expr is not PromQL" in shown[caret - 2]
    assert shown[caret - 1][shown[caret].index("^") :].startswith("(increase")
    assert "rolling_precission, which nobody offers" in result.stderr
    assert "has no test" not in result.stderr


def test_a_caret_behind_a_range_is_at_its_place(run: Run) -> None:
    shown = run(("<< fill | now >> < 0.25", "<< fill | now >> < 0.25 by 7")).stderr.splitlines()
    caret = next(index for index, line in enumerate(shown) if line.strip() == "^")
    assert shown[caret - 1][shown[caret].index("^") :] == "by 7"


def test_a_name_within_an_expression_that_nobody_knows_is_a_finding_and_hides_no_other(
    run: Run, tmp_path: Path
) -> None:
    run(("<< fill | now >> < 0.25", "<< fil | now >> < 0.25"))
    folder = tmp_path / "folder"
    folder.mkdir()
    os.rename(tmp_path / "r.yaml", folder / "a.yaml")
    other = (
        SHIPPED.read_text(encoding="utf-8").replace("model-canary", "other").replace("key: rollout", "key: x")
    )
    (folder / "b.yaml").write_text(other.replace("metric: rolling_precision", "metric: rolling_precission"))
    result = CliRunner().invoke(cli, ["check", "--rollouts", "folder", "--json"])
    assert result.exit_code == 1
    found = {(Path(item["path"]).name, item["key"]): item for item in errors(result)}
    mistake = found["a.yaml", "guards[8].expr"]
    assert mistake["line"] == line_of("    expr: |")
    assert (mistake["message"], mistake["hint"]) == (
        "cannot be rendered: 'fil' is undefined.",
        "Did you mean fill?",
    )
    assert any(
        name == "b.yaml" and "rolling_precission" in item["message"] for (name, _), item in found.items()
    )


def test_a_name_within_a_guard_s_tests_that_nobody_knows_is_a_finding(run: Run) -> None:
    result = run(("<< 3 * window >>", "<< 3 * windo >>"), options=("--lines",))
    here = line_of("    tests:")
    assert result.stdout.splitlines()[0] == (
        f"r.yaml:{here}: error: guards[8].tests cannot be rendered: 'windo' is undefined. "
        "Did you mean window? [rules]"
    )


def test_values_that_a_template_refuses_are_a_finding(run: Run) -> None:
    harm = (
        "  - alert: Harm\n    use: harm-budget\n"
        "    with: {bad: bad_total, total: all_total, accepted_ratio: 0, budget: 5}\n"
        "    severity: critical\n    action: rollback\n"
    )
    result = run(("  - alert:", f"{harm}  - alert:"), options=("--lines",))
    here = line_of("  - alert:") + 2
    assert result.stdout.splitlines() == [
        f"r.yaml:{here}: error: guards[0].with cannot be rendered: "
        "accepted_ratio is 0: use the template increases. [rules]"
    ]


def test_a_guard_that_is_no_promql_names_the_parameter(run: Run) -> None:
    result = run(("metric: rolling_precision", "metric: nan"), options=("--json",))
    found = next(found for found in errors(result) if found["check"] == "rules")
    assert (found["line"], found["key"]) == (line_of("rolling_precision"), "guards[1].with.metric")
    assert "last_over_time(nan{" in found["message"]
    assert found["message"].endswith("^")


def test_several_mistakes_of_several_checks_are_found_in_one_pass(run: Run) -> None:
    changes = [
        ("metric: winrate_canary,", "metric: winrate_canry,"),
        ("for: 10m", "for: 5s"),
        ("within: 2m", "within: 10s"),
    ]
    found = {item["check"] for item in errors(run(*changes, options=("--json",)))}
    assert found == {"metrics", "timing", "budget"}


def test_lines_are_what_editors_and_ci_read(run: Run) -> None:
    result = run(("metric: winrate_canary,", "metric: winrate_canry,"), options=("--lines",))
    here = line_of("metric: winrate_canary,")
    assert result.stdout.splitlines()[0] == (
        f"r.yaml:{here}: error: guards[0].with.metric reads winrate_canry, which nobody offers. "
        "Did you mean winrate_canary? [metrics]"
    )


def test_a_broken_file_gives_its_findings_as_json_and_the_others_are_still_checked(
    run: Run, tmp_path: Path
) -> None:
    run()
    (tmp_path / "folder").mkdir()
    os.rename(tmp_path / "r.yaml", tmp_path / "folder" / "a.yaml")
    (tmp_path / "folder" / "b.yaml").write_text("rollout: [\n")
    result = CliRunner().invoke(cli, ["check", "--rollouts", "folder", "--json"])
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert found["rollouts"] == 1
    assert [(item["check"], Path(item["path"]).name) for item in errors(result)] == [("spec", "b.yaml")]


def test_json_tells_which_receivers_each_guard_reaches(run: Run) -> None:
    routes = json.loads(run(options=("--json",)).stdout)["routes"]
    assert "rollguard" in routes["model-canary"]["DriftDetected"]
    assert routes["model-canary"]["WinRateDrop"] == ["rollguard-people"]


def test_verbose_shows_receivers_and_notes(run: Run) -> None:
    result = run(options=("--verbose",))
    assert "model-canary  WinRateDrop " in result.stdout
    assert "note: docs/runbooks: does not exist" in result.stderr


def test_warnings_do_not_fail(run: Run) -> None:
    result = run(("percent: 50", "percent: 5"))
    assert result.exit_code == 0
    assert "warning: r.yaml:" in result.stderr


def test_rules_that_are_out_of_date_are_an_error(run: Run, tmp_path: Path) -> None:
    (tmp_path / "old" / "rules").mkdir(parents=True)
    found = errors(run(options=("--json", "--generated", "old")))
    assert {item["check"] for item in found} == {"drift"}


def test_settings_that_are_broken_are_findings_too(run: Run, tmp_path: Path) -> None:
    (tmp_path / "routing.yaml").write_text("chatt: {}\n")
    (found,) = errors(run(options=("--json", "--routing", "routing.yaml")))
    assert (found["check"], found["path"], found["key"]) == ("routes", "routing.yaml", "chatt")


def test_a_mistake_in_a_set_has_its_file_and_one_in_the_rollout_the_place_that_takes_it(run: Run) -> None:
    Path("sets").mkdir()
    text = """\
set: shop
summary: What watches every service of the shop.
guards:
  - alert: PanicSeen
    use: increases
    with: {metric: panics_totals}
    severity: critical
    action: hold
"""
    Path("sets", "shop.yaml").write_text(text)
    taken = ("guards:\n", "guards:\n  - set: shop\n")
    here = line_of("guards:") + 1
    (found,) = errors(run(taken, options=("--json",)))
    assert (found["path"], found["line"], found["key"]) == ("r.yaml", here, "guards[0].set")
    assert found["message"].startswith("brings PanicSeen, whose with.metric ")
    assert "It stands in sets/shop.yaml:6; " in found["hint"]
    Path("sets", "shop.yaml").write_text(text.replace("metric: panics_totals", "metrik: panics_total"))
    shown = run(taken).stderr
    assert "sets/shop.yaml:6: guards[0].with.metrik is not a parameter of increases." in shown


def test_nothing_of_a_file_is_executed(run: Run) -> None:
    preflight = "preflight: [{name: a, run: [touch, executed]}, {name: b, expr: up >= bool 1}]\ntargets:\n"
    then = "  - flagd-file: {path: x.json}\n    then: {restart: [touch, executed]}\n"
    command = "  - command: {name: c, run: {fallback: [touch, executed]}}\n"
    found = run(("\ntargets:\n", f"\n{preflight}{then}{command}"))
    assert "preflight[1].expr always holds: bool yields 0" in found.output
    assert not Path("executed").exists()


def test_an_expression_of_a_preflight_that_is_no_promql_is_shown(run: Run) -> None:
    found = run(("\ntargets:\n", "\npreflight: [{name: a, expr: sum(}]\ntargets:\n"))
    assert found.exit_code == 1
    assert "preflight[0].expr" in found.output


def test_a_set_that_no_rollout_takes_is_checked_and_one_that_is_taken_once(run: Run) -> None:
    run()
    Path("rollouts", "sets").mkdir(parents=True)
    broken = "set: {0}\nsummary: Nothing yet.\nguards: []\n"
    for name in ("taken", "unused"):
        Path("rollouts", "sets", f"{name}.yaml").write_text(broken.format(name))
    text = Path("r.yaml").read_text(encoding="utf-8")
    Path("rollouts", "r.yaml").write_text(text.replace("guards:\n", "guards:\n  - set: taken\n"))
    found = CliRunner().invoke(cli, ["check", "--rollouts", "rollouts", "--lines"]).stdout.splitlines()
    assert [line.partition(": error")[0] for line in found] == [
        f"rollouts/sets/{name}.yaml:3" for name in ("taken", "unused")
    ]
