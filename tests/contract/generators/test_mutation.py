"""Mutants in a real promtool: a weak test shows with its line, a false declaration is found."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from rollguard.cli.main import cli
from rollguard.generators.mutation import equivalents
from rollguard.generators.mutation import run as mutation
from rollguard.generators.mutation.mutants import Mutant
from rollguard.generators.mutation.outcomes import LARGEST_EQUIVALENT_SHARE, Figures, Outcome
from rollguard.generators.mutation.run import Subject
from rollguard.generators.rules.alerting import RenderingError
from rollguard.generators.rules.timing import Timing
from rollguard.generators.tools import binaries
from rollguard.generators.tools.promtool import PromtoolError
from rollguard.spec import templates
from rollguard.spec.loading import load_rollout
from rollguard.spec.rule_tests import Equivalent
from rollguard.spec.templates import Template, library
from tests.factories import ROOT

PATH = ROOT / "rollouts" / "model-canary.yaml"
LINE = PATH.read_text(encoding="utf-8").splitlines().index("  - alert: WinRateDrop") + 1

Change = Callable[..., None]


@pytest.fixture(autouse=True)
def _promtool(need_binary: Callable[[binaries.Binary], str]) -> None:
    need_binary(binaries.PROMTOOL)


@pytest.fixture
def change(monkeypatch: pytest.MonkeyPatch) -> Change:
    """Change a template of the library."""

    def in_library(name: str, **keys: Any) -> None:
        template: Template = library()[name]
        changed = {**library(), name: template.model_copy(update=keys)}
        monkeypatch.setattr(templates, "library", lambda: changed)

    return in_library


def subject(guard: str) -> Subject:
    (found,) = (item for item in mutation.subjects(PATH, load_rollout(PATH), Timing()) if item.guard == guard)
    return found


def left(outcomes: list[Outcome]) -> dict[str, str]:
    return {outcome.mutation: outcome.status for outcome in outcomes if outcome.status != "killed"}


def weaken(change: Change) -> None:
    tests = [
        case
        for case in library()["threshold"].tests
        if case.about != "at the limit that it must not be below"
    ]
    change("threshold", tests=tuple(tests))


def test_a_weak_test_lets_mutants_live(change: Change) -> None:
    weaken(change)
    found = mutation.outcomes(subject("WinRateDrop"))
    assert left(found) == {"0.5 becomes 0.505": "survived", "< becomes <=": "survived"}


def test_a_survivor_is_shown_as_a_diff_with_its_line(change: Change) -> None:
    weaken(change)
    outcome = next(
        item for item in mutation.outcomes(subject("WinRateDrop")) if item.mutation == "< becomes <="
    )
    assert (outcome.path, outcome.line) == (PATH, LINE)
    assert outcome.diff.splitlines()[3:] == [
        " expr:",
        '-  last_over_time(rolling_precision{rollout="model-canary"}[1m]) < 0.5',
        '+  last_over_time(rolling_precision{rollout="model-canary"}[1m]) <= 0.5',
        " for: 10m",
    ]


def test_guards_that_differ_in_the_rollout_only_are_mutated_once() -> None:
    rollouts = ("adaptive-weights", "gpu-lifecycle")
    found = [
        item
        for name in rollouts
        for path in [ROOT / "rollouts" / f"{name}.yaml"]
        for item in mutation.subjects(path, load_rollout(path), Timing())
    ]
    kept = {(item.path.stem, item.guard) for item in mutation.distinct(found)}
    assert {("adaptive-weights", "FeatureUptimeLow"), ("gpu-lifecycle", "GpuLifecycleMemory")} < kept
    assert ("gpu-lifecycle", "FeatureUptimeLow") not in kept


def test_guards_that_differ_in_a_number_are_both_mutated() -> None:
    one = subject("WinRateDrop")
    other = replace(one, rule={**one.rule, "expr": one.rule["expr"].replace("0.5", "0.6")})
    assert mutation.distinct([one, one, other]) == [one, other]


def test_a_rule_without_for_is_judged_by_single_evaluations_as_by_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    guard = subject("ParquetSchemaMismatch")
    single = mutation.outcomes(guard)
    monkeypatch.setattr(Subject, "remembers", True)
    assert "for" not in guard.rule
    assert single == mutation.outcomes(guard)


def test_a_derived_guard_has_the_line_of_its_own_guard() -> None:
    assert subject("WinRateDropNoData").line == LINE


@pytest.mark.parametrize(
    ("mutation_", "reason"),
    [
        ("< becomes <=", "on sampled series the two differ"),
        ("< becomes >", "a test notices it"),
        ("rate becomes increase", "there is no such mutant"),
    ],
)
def test_a_false_declaration_is_found(change: Change, mutation_: str, reason: str) -> None:
    weak = [
        case
        for case in library()["threshold"].tests
        if case.about != "at the limit that it must not be below"
    ]
    declared = Equivalent(mutation=mutation_, reason="It is not.")
    change("threshold", tests=tuple(weak), equivalent=(declared,))
    found = [
        outcome
        for outcome in mutation.outcomes(subject("WinRateDrop"))
        if outcome.status == "falsely declared"
    ]
    assert [outcome.mutation for outcome in found] == [mutation_]
    assert found[0].reason.startswith(reason)


def test_an_equivalent_mutant_is_declared_and_found_so() -> None:
    found = mutation.outcomes(subject("OnnxParityFailure"))
    assert left(found) == {"increase becomes rate": "equivalent"}
    figures = Figures.of(found)
    assert figures.killed_share == 1
    assert (figures.equivalent, figures.own_equivalent) == (1, 0)


def test_what_the_rollout_file_declares_is_its_own(change: Change) -> None:
    change("increases", equivalent=())
    rollout = load_rollout(PATH)
    declared = Equivalent(mutation="increase becomes rate", reason="One is over zero when the other is.")
    guards = tuple(
        guard.model_copy(update={"equivalent": (declared,) if guard.name == "OnnxParityFailure" else ()})
        for guard in rollout.guards
    )
    changed = rollout.model_copy(update={"guards": guards})
    (guard,) = (
        item for item in mutation.subjects(PATH, changed, Timing()) if item.guard == "OnnxParityFailure"
    )
    assert Figures.of(mutation.outcomes(guard)).own_equivalent == 1


def test_a_declaration_that_cannot_be_rendered_names_its_guard(change: Change) -> None:
    change("increases", equivalent=(Equivalent(mutation="<< nobody >>", reason="It is not."),))
    with pytest.raises(RenderingError, match="equivalent of guard OnnxParityFailure: 'nobody' is undefined"):
        subject("OnnxParityFailure")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("increase(c_total[5m]) > 0", "rate(c_total[5m]) > 0", True),
        ("a > 5 and a > 4", "a > 5", True),
        ('a{rollout="x"} > on (rollout) b{rollout="x"}', 'a > on (rollout) b{rollout="x"}', True),
        ("increase(c_total[5m]) > 1", "rate(c_total[5m]) > 1", False),
        ("max_over_time(a[5m]) > 5", "max_over_time(a[10m]) > 5", False),
        ('a{rollout="x"} > 5', "a > 5", False),
        ("a > 5 and a < 4", "a < 4 and a > 6", False),
    ],
)
def test_rules_are_compared_on_sampled_series(one: str, other: str, same: bool) -> None:
    assert (equivalents.difference({"expr": one}, {"expr": other}, 15.0) == "") is same


def test_for_is_compared_too() -> None:
    rule = {"expr": "a > 5", "for": "1m"}
    assert equivalents.difference(rule, {**rule, "for": "2m"}, 15.0)
    assert not equivalents.difference(rule, dict(rule), 15.0)


def test_a_mutant_that_cannot_be_evaluated_is_noticed_and_hides_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = subject("CanaryWinrateRollback")
    names = '{__name__=~"winrate_canary|winrate_baseline_active"}'
    expr, several = str(plain.rule["expr"]), f'label_replace({names}, "__name__", "same", "", "")'
    refused = "winrate_canary <"
    made = [
        Mutant("label", name, {**plain.rule, "expr": text})
        for name, text in (("several", several), ("refused", refused), ("the same", expr))
    ]
    monkeypatch.setattr(mutation, "mutants", lambda _: made)
    found = {outcome.mutation: outcome.status for outcome in mutation.outcomes(plain)}
    assert found == {"several": "killed", "the same": "survived"}


def test_tests_that_fail_as_they_are_prove_nothing() -> None:
    plain = subject("WinRateDrop")
    with pytest.raises(PromtoolError, match="the tests of WinRateDrop fail for the rule as it is"):
        mutation.outcomes(replace(plain, rule={**plain.rule, "for": "11m"}))


# The command


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """The shipped rollout with few guards, whose mutants are done in seconds."""
    lines = PATH.read_text(encoding="utf-8").splitlines()
    starts = ("  - alert: ", "  - {alert: ", "  - set: ", "advance:")
    begins = [index for index, line in enumerate(lines) if line.startswith(starts)]
    kept = [
        lines[begin:end]
        for begin, end in pairwise(begins)
        if re.search("WinRateDrop$|OnnxParityFailure|DriftDetected$|ParquetGap", lines[begin])
    ]
    path = tmp_path / PATH.name
    rest = [line for line in lines[begins[-1] :] if "not_worse: " not in line]
    path.write_text("\n".join([*lines[: begins[0]], *chain(*kept), *rest]), encoding="utf-8")
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["test", *map(str, arguments)])


def test_a_survivor_is_what_the_command_finds(change: Change, few: Path) -> None:
    weaken(change)
    done = run("--mutate", "--rollouts", few)
    line = few.read_text(encoding="utf-8").splitlines().index("  - alert: WinRateDrop") + 1
    assert done.exit_code == 1
    assert f"{few}:{line}: guard WinRateDrop: < becomes <=: no test notices." in done.stdout
    assert '+  last_over_time(rolling_precision{rollout="model-canary"}[1m]) <= 0.5' in done.stdout
    assert "Mutating guards" in done.stderr


def holds_its_targets(done: Result) -> None:
    assert done.exit_code == 0, done.stdout
    found = json.loads(done.stdout)
    assert found["killed_share"] >= 0.95
    assert found["equivalent_share"] <= LARGEST_EQUIVALENT_SHARE
    assert found["total"] == len(found["mutants"])


@pytest.mark.slow
def test_where_no_mutant_survives_the_command_succeeds(few: Path) -> None:
    holds_its_targets(run("--mutate", "--json", "--rollouts", few))


@pytest.mark.slow
def test_what_the_library_declares_fails_no_small_site(tmp_path: Path) -> None:
    written = CliRunner().invoke(cli, ["init", "demo1", "--out", str(tmp_path)])
    assert written.exit_code == 0, written.output
    done = run("--mutate", "--rollouts", tmp_path)
    assert done.exit_code == 0, done.stdout
    assert "4 equivalent (2.3 %), 0 survived" in done.stdout


@pytest.mark.slow
def test_nothing_that_ships_survives() -> None:
    holds_its_targets(run("--mutate", "--json", "--rollouts", PATH.parent))


def test_coverage_is_a_table_and_json(few: Path) -> None:
    table = run("--coverage", "--rollouts", few)
    assert table.exit_code == 0
    assert "100 %" in table.stdout
    assert json.loads(run("--coverage", "--json", "--rollouts", few).stdout)["share"] == 1


def test_what_ships_has_every_kind_of_test() -> None:
    assert json.loads(run("--coverage", "--json", "--rollouts", PATH.parent).stdout)["share"] == 1


def test_a_missing_kind_is_named_by_the_command(change: Change, few: Path) -> None:
    change("increases", tests=tuple(case for case in library()["increases"].tests if case.case != "absent"))
    done = run("--coverage", "--rollouts", few)
    assert done.exit_code == 1
    assert "guard OnnxParityFailure has no test of the kind absent" in done.stdout
    assert "MISSING" in done.stdout


@pytest.mark.parametrize("arguments", [["--coverage", "--mutate"], ["--mutate", "some.test.yml"]])
def test_the_two_exclude_one_another_and_files(arguments: list[str]) -> None:
    assert CliRunner().invoke(cli, ["test", *arguments]).exit_code == 2
