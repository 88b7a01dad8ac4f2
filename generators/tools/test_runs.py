"""Runs of promtool's tests, in slices: each alert's test groups with the rules that they are about.

For each group promtool evaluates every rule of the file at every step: of thirty rules, twenty-nine for
nothing. Alerting rules do not read one another's results, except by ``ALERTS``; so the rest is left out.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rollguard.errors import FileProblemsError
from rollguard.generators.tools import promtool
from rollguard.yamlfile import read

_GROUPS_AT_A_TIME = 40
"""What one promtool is given: few enough to see progress, and to answer in time on a busy machine."""


@dataclass(frozen=True)
class TestResult:
    """One test group, run by itself or with others.

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


@dataclass(frozen=True)
class _Slice:
    """Test groups of one file with the rules that they are about.

    Args:
        path: the test file.
        content: all of it but its groups and rules.
        groups: some of its groups.
        rules: the contents of its rule files, or the path of one that could not be read.
    """

    path: Path
    content: Mapping[str, Any]
    groups: Sequence[Mapping[str, Any]]
    rules: Sequence[Mapping[str, Any] | Path]


def run_tests(
    paths: Sequence[Path], progress: Callable[[int, int], None] = lambda run, total: None
) -> list[TestResult]:
    """Run test files on all cores, in slices; of one that fails, the groups one by one, to name them.

    Args:
        paths: test files for promtool.
        progress: is told how many test groups have just been run, and how many there are in all.
    Returns:
        A result for each test group, in order of files and alerts.
    Raises:
        FileProblemsError: one is no test file.
        PromtoolError: promtool did not answer.
    """
    slices = [item for path in paths for item in _slices(path)]
    total = sum(len(item.groups) for item in slices)
    found: dict[int, list[TestResult]] = {}
    with ThreadPoolExecutor(os.cpu_count() or 2) as pool:
        jobs = [pool.submit(_run, share) for share in _shares(slices)]
        try:
            for job in as_completed(jobs):
                found |= {id(item): results for item, results in job.result()}
                progress(sum(len(item.groups) for item, _ in job.result()), total)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    return [result for item in slices for result in found[id(item)]]


def _shares(slices: Sequence[_Slice]) -> Iterator[list[_Slice]]:
    share: list[_Slice] = []
    for item in slices:
        share.append(item)
        if sum(len(one.groups) for one in share) >= _GROUPS_AT_A_TIME:
            yield share
            share = []
    if share:
        yield share


def _slices(path: Path) -> Iterator[_Slice]:
    content = promtool.test_file(path).data
    rules = [_rules(file) for file in promtool.rule_files(path)]
    by_alerts: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for group in content["tests"]:
        by_alerts.setdefault(_tested(group), []).append(group)
    for alerts, groups in (by_alerts or {(): []}).items():
        about = [_untold(_about(item, alerts), groups) for item in rules]
        for start in range(0, max(1, len(groups)), _GROUPS_AT_A_TIME):
            yield _Slice(path, content, groups[start : start + _GROUPS_AT_A_TIME], about)


def _rules(path: Path) -> Mapping[str, Any] | Path:
    """Return a rule file's content; where it is none, the path, so that promtool says so."""
    try:
        content = read(path).data
        rules = [rule for group in content["groups"] for rule in group["rules"]]
        whole = all("alert" in rule or "record" in rule for rule in rules)
    except (FileProblemsError, AttributeError, TypeError, KeyError):
        return path.resolve()
    return content if whole else path.resolve()


def _about(content: Mapping[str, Any] | Path, alerts: Sequence[str]) -> Mapping[str, Any] | Path:
    """Return rules without the alerting ones that the tests are not about."""
    if isinstance(content, Path) or not alerts:
        return content
    every = [rule for group in content["groups"] for rule in group["rules"]]
    if any("ALERTS" in str(rule.get("expr")) for rule in every):
        return content
    groups = [
        {**group, "rules": [rule for rule in group["rules"] if rule.get("alert", alerts[0]) in alerts]}
        for group in content["groups"]
    ]
    return {**content, "groups": [group for group in groups if group["rules"]]}


def _untold(
    content: Mapping[str, Any] | Path, tests: Sequence[Mapping[str, Any]]
) -> Mapping[str, Any] | Path:
    """Return rules without annotations, which promtool expands at every step, where no test reads them."""
    if isinstance(content, Path) or any("alert_rule_test" in test for test in tests):
        return content
    groups = [
        {
            **group,
            "rules": [{**rule, "annotations": {}} if "alert" in rule else rule for rule in group["rules"]],
        }
        for group in content["groups"]
    ]
    return {**content, "groups": groups}


def _run(slices: Sequence[_Slice]) -> list[tuple[_Slice, list[TestResult]]]:
    """Run slices by one promtool; where a test fails, by halves."""
    if not slices:
        return []
    output = _output(slices)
    if not output:
        return [(item, [_result(group) for group in item.groups]) for item in slices]
    if len(slices) == 1:
        return [(slices[0], _one_by_one(slices[0], output))]
    half = len(slices) // 2
    return _run(slices[:half]) + _run(slices[half:])


def _one_by_one(item: _Slice, together: str) -> list[TestResult]:
    if len(item.groups) == 1:
        return [_result(item.groups[0], together)]
    alone = [_Slice(item.path, item.content, [group], item.rules) for group in item.groups]
    results = [_result(single.groups[0], _output([single])) for single in alone]
    if all(result.passed for result in results):
        results.append(TestResult((), str(item.path), False, together))
    return results


def _output(slices: Sequence[_Slice]) -> str:
    """Return what promtool says of slices that fail; nothing where all pass."""
    with tempfile.TemporaryDirectory(prefix="rollguard-") as folder:
        return promtool.test_output(
            *(_written(item, Path(folder), index) for index, item in enumerate(slices))
        )


def _written(item: _Slice, folder: Path, index: int) -> Path:
    names = []
    for number, rules in enumerate(item.rules):
        path = rules if isinstance(rules, Path) else folder / f"{index}-{number}.rules.yml"
        if not isinstance(rules, Path):
            path.write_text(json.dumps(rules), encoding="utf-8")
        names.append(str(path))
    path = folder / f"{index}.test.yml"
    content = {**item.content, "rule_files": names, "tests": list(item.groups)}
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def _result(group: Mapping[str, Any], output: str = "") -> TestResult:
    return TestResult(_tested(group), str(group.get("name") or "unnamed"), not output, output)


def _tested(group: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(alert for alert, _ in promtool.expectations(group)))
