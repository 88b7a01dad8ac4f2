"""promtool, asked about rendered rules; and what it lets pass in silence.

promtool exits 0 for a test that names no existing alert and for a rule file that is missing, so names and
files are checked here first.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from generators.rules import rendered_rules
from rollguard import binaries
from rollguard.errors import FileProblemsError, Problem, RollguardError
from rollguard.yamlfile import Document, read

_ALERT_IN_EXPR = re.compile(r'ALERTS\s*\{(?P<matchers>[^}]*?alertname\s*=\s*"(?P<alert>[^"]+)"[^}]*)\}')
_PENDING = re.compile(r'alertstate\s*=\s*"pending"')
_RULE_ERROR = re.compile(r'(?P<file>.+?): (?:\d+:\d+: )?.*rule \d+, "(?P<alert>[^"]+)": (?P<message>.*)')
_TIMEOUT_SECONDS = 120


class PromtoolError(RollguardError):
    """promtool could not be run."""


@dataclass(frozen=True)
class TestResult:
    """One test group, run by itself or with its file.

    Args:
        alerts: the alerts it is about.
        title: its name.
        passed: whether promtool was content.
        output: what promtool said, where it was not.
    """

    __test__ = False

    alerts: tuple[str, ...]
    title: str
    passed: bool
    output: str = ""


def check_rules(*paths: Path) -> list[Problem]:
    """Return what promtool refuses in rule files, each with the guard that it came from.

    Args:
        paths: rule files; promtool is asked once for all.
    Raises:
        PromtoolError: promtool did not answer.
    """
    done = _promtool("check", "rules", "--lint=all", "--lint-fatal", *map(str, paths))
    if done.returncode == 0:
        return []
    problems = []
    for line in (done.stdout + done.stderr).splitlines():
        match = _RULE_ERROR.match(line)
        if match:
            message = f"is refused: {match['message']}."
            problems.append(Problem(Path(match["file"]), 0, f"guard {match['alert']}", message))
    if problems:
        return problems
    if len(paths) > 1:  # what it says of duplicates names no file
        return [problem for path in paths for problem in check_rules(path)]
    text = (done.stdout + done.stderr).strip()
    return [Problem(paths[0], 0, "", f"is refused by promtool:\n{text}")]


def rule_files(path: Path) -> list[Path]:
    """Return the rule files that a test file names and that exist, ordered."""
    names = _test_file(path).data["rule_files"]
    return sorted(file for name in names for file in _matching(path.parent, str(name)))


def _test_file(path: Path) -> Document:
    """Return a test file of which at least the frame is one; raises FileProblemsError."""
    document = read(path)
    if not isinstance(document.data, dict):
        raise FileProblemsError([document.problem((), "is no test file, expected rule_files and tests.")])
    problems = [*document.problems, *_check_frame(document)]
    if problems:
        raise FileProblemsError(problems)
    return document


def _check_frame(document: Document) -> Iterator[Problem]:
    for key in ("rule_files", "tests"):
        if document.data.setdefault(key, []) is None:
            document.data[key] = []
        if not isinstance(document.data[key], list):
            yield document.problem((key,), "is no list.")
            return
    for index, group in enumerate(document.data["tests"]):
        if not isinstance(group, dict):
            yield document.problem(("tests", index), "is no mapping of keys.")
            continue
        for kind in ("alert_rule_test", "promql_expr_test"):
            cases = group.get(kind) or []
            if not isinstance(cases, list) or not all(isinstance(case, dict) for case in cases):
                yield document.problem(("tests", index, kind), "is no list of tests.")


def _alerts(path: Path) -> set[str]:
    """Return the alerts of a rule file; where it is none, promtool says so."""
    try:
        return {str(rule["alert"]) for rule in rendered_rules(read(path).data)}
    except (FileProblemsError, AttributeError, TypeError):
        return set()


def _matching(folder: Path, pattern: str) -> list[Path]:
    if Path(pattern).is_absolute():
        return [Path(pattern)] if Path(pattern).is_file() else []
    return sorted(folder.glob(pattern))


def falsely_green(path: Path) -> list[Problem]:
    """Return what promtool would pass over in silence in a test file.

    Args:
        path: a test file for promtool.
    Returns:
        Rule files that are missing, tests of alerts that do not exist, alerts without a firing or a silent
        test, test groups that test nothing or leave the interval to a default that changed between versions.
    Raises:
        FileProblemsError: it is no test file.
    """
    document = _test_file(path)
    problems: list[Problem] = []
    alerts: set[str] = set()
    for index, pattern in enumerate(document.data["rule_files"]):
        files = _matching(path.parent, str(pattern))
        if not files:
            problems.append(document.problem(("rule_files", index), f"is {pattern}, which does not exist."))
        for file in files:
            alerts |= _alerts(file)
    groups = document.data["tests"]
    problems += [
        problem
        for index, group in enumerate(groups)
        for problem in _check_group(document, index, group, alerts)
    ]
    outcomes = [outcome for group in groups for outcome in _expectations(group)]
    for alert in sorted(alerts):
        for fires, words in ((True, "firing"), (False, "silent")):
            if (alert, fires) not in outcomes:
                hint = "Without it, nobody would notice if the rule changed."
                problems.append(Problem(path, 0, f"alert {alert}", f"has no {words} test.", hint))
    return problems


def _check_group(
    document: Document, index: int, group: Mapping[str, Any], alerts: set[str]
) -> Iterator[Problem]:
    here = ("tests", index)
    if "interval" not in group:
        yield document.problem(here, "has no interval.", "Its default differs between versions: write it.")
    named = {alert for alert, _ in _expectations(group)}
    for alert in sorted(named - alerts):
        yield document.problem(here, f"tests the alert {alert}, which no rule file has.")
    if not group.get("alert_rule_test") and not group.get("promql_expr_test"):
        yield document.problem(here, "tests nothing.")


def _expectations(group: Mapping[str, Any]) -> Iterator[tuple[str, bool | None]]:
    """Yield the alerts that a group tests, and whether each is expected to fire; None where it may."""
    for test in group.get("alert_rule_test") or ():
        yield str(test.get("alertname")), bool(test.get("exp_alerts"))
    for test in group.get("promql_expr_test") or ():
        for match in _ALERT_IN_EXPR.finditer(str(test.get("expr"))):
            pending = _PENDING.search(match["matchers"])
            yield match["alert"], None if pending else bool(test.get("exp_samples"))


def run_tests(path: Path) -> list[TestResult]:
    """Run a test file; where it fails, the groups of each alert, then one by one, to name those that fail.

    Args:
        path: a test file for promtool.
    Returns:
        A result for each test group.
    Raises:
        FileProblemsError: it is no test file.
        PromtoolError: promtool did not answer.
    """
    content = _test_file(path).data
    groups: Sequence[Mapping[str, Any]] = content["tests"]
    together = _promtool("test", "rules", str(path))
    if together.returncode == 0:
        return [_result(group, True, "") for group in groups]
    by_alerts: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for group in groups:
        by_alerts.setdefault(_tested(group), []).append(group)
    results = [result for some in by_alerts.values() for result in _run_some(path, content, some)]
    if all(result.passed for result in results):
        results.append(TestResult((), str(path), False, _words(together)))
    return results


def test_output(path: Path) -> str:
    """Run a test file, and return what promtool says of what fails; nothing where it passes.

    Raises:
        PromtoolError: promtool did not answer.
    """
    done = _promtool("test", "rules", str(path))
    return "" if done.returncode == 0 else _words(done)


def _run_some(
    path: Path, content: Mapping[str, Any], groups: Sequence[Mapping[str, Any]]
) -> list[TestResult]:
    done = _run_only(path, content, groups)
    if done.returncode == 0:
        return [_result(group, True, "") for group in groups]
    if len(groups) == 1:
        return [_result(groups[0], False, _words(done))]
    return [result for group in groups for result in _run_some(path, content, [group])]


def _run_only(
    path: Path, content: Mapping[str, Any], groups: Sequence[Mapping[str, Any]]
) -> subprocess.CompletedProcess[str]:
    files = [str((path.parent / name).resolve()) for name in content["rule_files"]]
    with tempfile.TemporaryDirectory(prefix="rollguard-") as folder:
        alone = Path(folder) / "one.test.yml"
        alone.write_text(
            yaml.safe_dump({**content, "rule_files": files, "tests": list(groups)}), encoding="utf-8"
        )
        return _promtool("test", "rules", str(alone))


def _result(group: Mapping[str, Any], passed: bool, output: str) -> TestResult:
    return TestResult(_tested(group), str(group.get("name") or "unnamed"), passed, "" if passed else output)


def _tested(group: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(alert for alert, _ in _expectations(group)))


def _words(done: subprocess.CompletedProcess[str]) -> str:
    lines = (done.stdout + done.stderr).splitlines()
    return "\n".join(line for line in lines if line.strip() and not line.startswith("Unit Testing"))


def _promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [binaries.find(binaries.PROMTOOL), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PromtoolError(f"promtool {arguments[0]} {arguments[1]} did not answer: {error}.") from error
