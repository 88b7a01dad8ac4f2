"""promtool, asked about rendered rules; and what it lets pass in silence.

promtool exits 0 for a test that names no existing alert and for a rule file that is missing, so names and
files are checked here first.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from rollguard.errors import FileProblemsError, Problem, RollguardError
from rollguard.generators.rules.alerting import rendered_rules
from rollguard.generators.tools import binaries
from rollguard.yamlfile import Document, read

_ALERT_IN_EXPR = re.compile(r'ALERTS\s*\{(?P<matchers>[^}]*?alertname\s*=\s*"(?P<alert>[^"]+)"[^}]*)\}')
_PENDING = re.compile(r'alertstate\s*=\s*"pending"')
_RULE_ERROR = re.compile(r'(?P<file>.+?): (?:\d+:\d+: )?.*rule \d+, "(?P<alert>[^"]+)": (?P<message>.*)')
_TIMEOUT_SECONDS = 600
_MEMORY = Path("/dev/shm")  # noqa: S108 - promtool makes a folder of its own there
_ROOM_BYTES = 1 << 30
_COLLECTION = {"GOGC": "400"}
"""promtool holds little and makes much waste: a fifth of its time is saved by collecting it less often."""


class PromtoolError(RollguardError):
    """promtool could not be run."""


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
    names = test_file(path).data["rule_files"]
    return sorted(file for name in names for file in _matching(path.parent, str(name)))


def test_file(path: Path) -> Document:
    """Return a test file of which at least the frame is one.

    Raises:
        FileProblemsError: it is none.
    """
    status = path.stat() if path.is_file() else None
    return _test_file(path, (status.st_mtime_ns, status.st_size) if status else None)


@lru_cache(maxsize=256)
def _test_file(path: Path, _version: tuple[int, int] | None) -> Document:
    """Reading takes as long as testing, and each file is read for names, for gaps and for its tests."""
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


def falsely_green(paths: Sequence[Path]) -> list[Problem]:
    """Return what promtool would pass over in silence in test files.

    Args:
        paths: test files for promtool; together they test the alerts of the rule files that they name.
    Returns:
        Rule files that are missing, tests of alerts that do not exist, alerts without a firing or a silent
        test, test groups that test nothing or leave the interval to a default that changed between versions.
    Raises:
        FileProblemsError: one is no test file.
    """
    problems: list[Problem] = []
    outcomes: dict[Path, set[tuple[str, bool | None]]] = {}
    first: dict[Path, Path] = {}
    for path in paths:
        document = test_file(path)
        problems += _missing(document)
        files = [file.resolve() for file in rule_files(path)]
        alerts = {alert for file in files for alert in _alerts(file)}
        for index, group in enumerate(document.data["tests"]):
            problems += _check_group(document, index, group, alerts)
        for file in files:
            first.setdefault(file, path)
            outcomes.setdefault(file, set()).update(
                outcome for group in document.data["tests"] for outcome in expectations(group)
            )
    problems += (problem for file, path in first.items() for problem in _untested(path, file, outcomes[file]))
    return problems


def _missing(document: Document) -> Iterator[Problem]:
    for index, pattern in enumerate(document.data["rule_files"]):
        if not _matching(document.path.parent, str(pattern)):
            yield document.problem(("rule_files", index), f"is {pattern}, which does not exist.")


def _untested(path: Path, file: Path, outcomes: Collection[tuple[str, bool | None]]) -> Iterator[Problem]:
    for alert in sorted(_alerts(file)):
        for fires, words in ((True, "firing"), (False, "silent")):
            if (alert, fires) not in outcomes:
                hint = "Without it, nobody would notice if the rule changed."
                yield Problem(path, 0, f"alert {alert}", f"has no {words} test.", hint)


def _check_group(
    document: Document, index: int, group: Mapping[str, Any], alerts: set[str]
) -> Iterator[Problem]:
    here = ("tests", index)
    if "interval" not in group:
        yield document.problem(here, "has no interval.", "Its default differs between versions: write it.")
    named = {alert for alert, _ in expectations(group)}
    for alert in sorted(named - alerts):
        yield document.problem(here, f"tests the alert {alert}, which no rule file has.")
    if not group.get("alert_rule_test") and not group.get("promql_expr_test"):
        yield document.problem(here, "tests nothing.")


def expectations(group: Mapping[str, Any]) -> Iterator[tuple[str, bool | None]]:
    """Yield the alerts that a test group is about, and whether each should fire; None where it may."""
    for test in group.get("alert_rule_test") or ():
        yield str(test.get("alertname")), bool(test.get("exp_alerts"))
    for test in group.get("promql_expr_test") or ():
        for match in _ALERT_IN_EXPR.finditer(str(test.get("expr"))):
            pending = _PENDING.search(match["matchers"])
            yield match["alert"], None if pending else bool(test.get("exp_samples"))


def test_output(*paths: Path) -> str:
    """Run test files, and return what promtool says of what fails; nothing where all pass.

    Raises:
        PromtoolError: promtool did not answer.
    """
    done = _promtool("test", "rules", *map(str, paths))
    return "" if done.returncode == 0 else _words(done)


def _words(done: subprocess.CompletedProcess[str]) -> str:
    lines = (done.stdout + done.stderr).splitlines()
    return "\n".join(line for line in lines if line.strip() and not line.startswith("Unit Testing"))


def _promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [binaries.find(binaries.PROMTOOL), *arguments]
    try:
        return subprocess.run(
            command,
            env={**_databases(), **_COLLECTION, **os.environ},
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PromtoolError(f"promtool {arguments[0]} {arguments[1]} did not answer: {error}.") from error


@cache
def _databases() -> Mapping[str, str]:
    """Have promtool keep the database that it makes for each test group in memory, where there is room."""
    roomy = os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ROOM_BYTES
    return {"TMPDIR": str(_MEMORY)} if roomy else {}
