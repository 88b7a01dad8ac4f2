"""What promtool lets pass in silence is found without it; how it is run, with one that is a script."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rollguard.errors import FileProblemsError
from rollguard.generators.tools import binaries, promtool
from rollguard.generators.tools.promtool import PromtoolError

RULES = """\
groups:
  - name: shop
    rules:
      - {alert: ErrorsHigh, expr: errors > 5}
"""
FIRES = """\
  - interval: 15s
    input_series: [{series: errors, values: 6x4}]
    alert_rule_test: [{eval_time: 15s, alertname: ErrorsHigh, exp_alerts: [{exp_labels: {}}]}]
"""
SILENT = """\
  - interval: 15s
    input_series: [{series: errors, values: 5x4}]
    promql_expr_test:
      - {eval_time: 15s, expr: 'ALERTS{alertname="ErrorsHigh"}', exp_samples: []}
"""

Told = Callable[..., list[str]]


@pytest.fixture
def told(tmp_path: Path) -> Told:
    """Return what is falsely green in a test file with these groups."""

    def of(*groups: str, rule_files: str = "[r.yml]", rules: str = RULES) -> list[str]:
        (tmp_path / "r.yml").write_text(rules)
        path = tmp_path / "t.yml"
        path.write_text(f"rule_files: {rule_files}\ntests:\n{''.join(groups)}")
        found = promtool.falsely_green([path])
        return [str(problem).replace(f"{tmp_path}/", "").split("\n")[0] for problem in found]

    return of


def test_a_firing_and_a_silent_test_of_each_alert_are_enough(told: Told) -> None:
    assert told(FIRES, SILENT) == []


def test_an_alert_without_a_firing_test_is_named(told: Told) -> None:
    assert told(SILENT) == ["t.yml: alert ErrorsHigh has no firing test."]


def test_an_alert_without_a_silent_test_is_named(told: Told) -> None:
    assert told(FIRES) == ["t.yml: alert ErrorsHigh has no silent test."]


def test_a_test_of_no_existing_alert_is_named(told: Told) -> None:
    found = told(FIRES, SILENT, SILENT.replace("ErrorsHigh", "ErorsHigh"))
    assert found == ["t.yml:10: tests[2] tests the alert ErorsHigh, which no rule file has."]


def test_a_missing_rule_file_is_named(told: Told) -> None:
    found = told(FIRES, SILENT, rule_files="[r.yml, none.yml, 'x/*.yml']")
    assert found == [
        "t.yml:1: rule_files[1] is none.yml, which does not exist.",
        "t.yml:1: rule_files[2] is x/*.yml, which does not exist.",
    ]


def test_rule_files_are_found_by_pattern(told: Told) -> None:
    assert told(FIRES, SILENT, rule_files="['r*.yml']") == []


def test_an_interval_left_to_a_default_is_named(told: Told) -> None:
    found = told(FIRES, SILENT.replace("interval: 15s", "name: x"))
    assert found == ["t.yml:6: tests[1] has no interval."]


def test_a_group_that_tests_nothing_is_named(told: Told) -> None:
    assert told(FIRES, SILENT, "  - interval: 15s\n") == ["t.yml:10: tests[2] tests nothing."]


def test_a_pending_alert_is_no_firing_one(told: Told) -> None:
    pending = """\
  - interval: 15s
    promql_expr_test:
      - eval_time: 15s
        expr: 'ALERTS{alertname="ErrorsHigh",alertstate="pending"}'
        exp_samples: [{labels: x, value: 1}]
"""
    assert told(pending, SILENT) == ["t.yml: alert ErrorsHigh has no firing test."]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no test file"),
        ("- a\n", "is no test file"),
        ("rule_files: r.yml\n", "rule_files is no list"),
        ("tests: {}\n", "tests is no list"),
        ("tests: [1]\n", r"tests\[0\] is no mapping"),
        ("tests: [{alert_rule_test: 3}]\n", r"tests\[0\]\.alert_rule_test is no list"),
        ("tests: [{promql_expr_test: [3]}]\n", r"tests\[0\]\.promql_expr_test is no list"),
        ("a: &x 1\nb: *x\n", "b is an alias"),
    ],
)
def test_what_is_no_test_file_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "t.yml"
    path.write_text(text)
    with pytest.raises(FileProblemsError, match=message):
        promtool.falsely_green([path])


@pytest.mark.parametrize("rules", ["", "- a\n", "groups: 3\n", "groups: [3]\n", "groups: [{rules: [3]}]\n"])
def test_what_is_no_rule_file_has_no_alerts(told: Told, rules: str) -> None:
    found = told(FIRES, SILENT, rules=rules)
    assert found[0] == "t.yml:3: tests[0] tests the alert ErrorsHigh, which no rule file has."


# Finding the programs


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Path]]:
    """Put a script called promtool first, and alone, on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(binaries, "_UNPACKED", tmp_path / "nothing")
    binaries.find.cache_clear()

    def put(script: str) -> Path:
        path = folder / "promtool"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IEXEC)
        return path

    yield put
    binaries.find.cache_clear()


def test_a_program_that_is_new_enough_is_found(program: Callable[[str], Path]) -> None:
    path = program('echo "promtool, version 2.42.0+ds (branch: debian/sid)"')
    assert binaries.find(binaries.PROMTOOL) == str(path)


def test_a_program_that_tells_its_version_on_stderr_is_found(program: Callable[[str], Path]) -> None:
    path = program('echo "promtool, version 10.0.1" >&2')
    assert binaries.find(binaries.PROMTOOL) == str(path)


def test_a_missing_program_is_named_with_its_package(program: Callable[[str], Path]) -> None:
    with pytest.raises(
        binaries.BinaryError,
        match=r"promtool 2\.42 or newer was not found\.\n.*apt-get install prometheus",
    ):
        binaries.find(binaries.PROMTOOL)


@pytest.mark.parametrize(
    ("script", "shown"),
    [
        ("echo 'promtool, version 2.9.1'", r"2\.9"),
        ("echo hello", "unknown"),
        ("exit 1", "unknown"),
    ],
)
def test_a_program_that_is_too_old_is_named_with_its_version(
    program: Callable[[str], Path], script: str, shown: str
) -> None:
    path = program(script)
    with pytest.raises(binaries.BinaryError, match=f"not found: {path} is version {shown}"):
        binaries.find(binaries.PROMTOOL)


def test_a_newer_unpacked_program_makes_up_for_an_old_one(
    program: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = program("echo 'promtool, version 3.1.0'").rename(tmp_path / "promtool")
    program("echo 'promtool, version 2.9.1'")
    monkeypatch.setattr(binaries, "_UNPACKED", tmp_path)
    assert binaries.find(binaries.PROMTOOL) == str(new)


def test_a_promtool_that_does_not_answer_is_named(
    program: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program('[ "$1" = --version ] && echo "version 2.42.0" || while :; do :; done')
    monkeypatch.setattr(promtool, "_TIMEOUT_SECONDS", 0.1)
    with pytest.raises(PromtoolError, match="promtool check rules did not answer"):
        promtool.check_rules(tmp_path / "r.yml")


def test_what_promtool_refuses_is_attributed_to_its_guard(
    program: Callable[[str], Path], tmp_path: Path
) -> None:
    program(
        '[ "$1" = --version ] && echo "version 2.42.0" && exit\n'
        'echo \'r.yml: 3:1: group "shop", rule 2, "ErrorsHigh": could not parse expression: 1:8\' >&2; exit 1'
    )
    (problem,) = promtool.check_rules(tmp_path / "r.yml")
    assert problem.key == "guard ErrorsHigh"


def test_a_refusal_in_other_words_is_shown_whole(program: Callable[[str], Path], tmp_path: Path) -> None:
    program('[ "$1" = --version ] && echo "version 2.42.0" && exit\necho "something new"; exit 3')
    (problem,) = promtool.check_rules(tmp_path / "r.yml")
    assert "is refused by promtool:\nsomething new" in str(problem)
