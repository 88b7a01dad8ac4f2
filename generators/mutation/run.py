"""Whether a guard's tests would notice a mistake in its rule: each mutant is tested, and some go unnoticed.

A test group costs promtool a fresh database, so all mutants of a guard share it as alerts of other names.
"""

from __future__ import annotations

import difflib
import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rollguard import durations
from rollguard.conventions import ROLLOUT_LABEL
from rollguard.generators.mutation import equivalents
from rollguard.generators.mutation.mutants import Mutant, mutants
from rollguard.generators.mutation.outcomes import Outcome, Status
from rollguard.generators.promql.syntax import spliced, tokens
from rollguard.generators.rule_tests.cases import Watched
from rollguard.generators.rule_tests.files import cases, test_group
from rollguard.generators.rules import expressions
from rollguard.generators.rules.alerting import RenderingError, alerting_rule, evaluated
from rollguard.generators.rules.timing import Timing
from rollguard.generators.tools import promtool
from rollguard.generators.tools.promtool import PromtoolError
from rollguard.spec.guards import all_guards
from rollguard.spec.rollout import Rollout
from rollguard.spec.rule_tests import Equivalent
from rollguard.spec.sets import read_rollout

_EVALUATIONS_IN_A_ROUND = 100
"""After so many, what goes on without the mutants that are killed by then saves more than a start costs."""
_EVALUATIONS_OF_A_DATABASE = 8
"""What making one costs, in evaluations."""

_RULES = "mutants.rules.yml"
_UNCHANGED = "RollguardUnchanged"
_NAME = "RollguardMutant"
_NUMBERED = re.compile(rf"{_NAME}(\d+)\b")
_NOT_EVALUATED = ", err: "
_NUMBER_OF_ITS_KIND = re.compile(r" \(\d+\)$")


@dataclass(frozen=True)
class Subject:
    """A guard whose rule is mutated.

    Args:
        path: the rollout file.
        line: the guard's line there.
        guard: its name.
        rule: its alerting rule as rendered.
        groups: its tests as promtool reads them.
        interval: of evaluation, seconds.
        declared: its template's equivalent mutants and its own, rendered.
        own: the names of those that its rollout file declares.
    """

    path: Path
    line: int
    guard: str
    rule: Mapping[str, Any]
    groups: Sequence[Mapping[str, Any]]
    interval: float
    declared: Sequence[Equivalent] = ()
    own: frozenset[str] = frozenset()

    @property
    def form(self) -> str:
        """What is mutated and tested, with the rollout's name left open."""
        rule = {key: self.rule.get(key) for key in ("expr", "for", "labels")}
        declared = [item.model_dump() for item in self.declared]
        text = json.dumps([rule, self.groups, self.interval, declared])
        return text.replace(self.rule["labels"].get(ROLLOUT_LABEL) or "\0", "\0")

    @property
    def remembers(self) -> bool:
        """Whether an evaluation depends on those before it; if not, only those looked at are made."""
        return "for" in self.rule

    def cost(self, group: Mapping[str, Any]) -> float:
        """Return about how many evaluations a test group takes."""
        if self.remembers:
            return max(_looks(group)) / self.interval
        return _EVALUATIONS_OF_A_DATABASE * len(_looks(group))

    @property
    def size(self) -> float:
        """About how many evaluations its tests take."""
        return sum(map(self.cost, self.groups))


def subjects(path: Path, rollout: Rollout, timing: Timing) -> list[Subject]:
    """Return a rollout's guards, ready for mutation.

    Args:
        path: the rollout's file, for the lines.
        rollout: as loaded from it.
        timing: interval and scale.
    Raises:
        RenderingError: a guard cannot be rendered.
    """
    document = read_rollout(path)
    lines = {guard.name: document.line_of(("guards", index)) for index, guard in enumerate(rollout.guards)}
    found = []
    for guard in all_guards(rollout):
        watched = Watched(rollout, guard, timing)
        found.append(
            Subject(
                path,
                lines.get(guard.source_name, 0),
                guard.name,
                alerting_rule(rollout, guard, timing),
                [test_group(rollout, case) for case in cases(rollout, guard, timing)],
                watched.timing.interval,
                _rendered(watched, (*watched.template.equivalent, *guard.equivalent)),
                frozenset(item.mutation for item in _rendered(watched, guard.equivalent)),
            )
        )
    return found


def _rendered(watched: Watched, declared: Sequence[Equivalent]) -> list[Equivalent]:
    """Return declared equivalent mutants with the guard's numbers, each once."""
    found: dict[str, Equivalent] = {}
    for part in watched.parts:
        for item in declared:
            try:
                name = expressions.render(item.mutation, watched.known(part))
            except expressions.ExpressionError as error:
                where = f"{watched.rollout.name}: equivalent of guard {watched.guard.name}"
                raise RenderingError(where, error, "equivalent") from error
            if name:
                found[name] = item.model_copy(update={"mutation": name})
    return list(found.values())


def distinct(found: Sequence[Subject]) -> list[Subject]:
    """Return guards without those that differ from an earlier one in the rollout's name only."""
    known: dict[str, Subject] = {}
    for subject in found:
        known.setdefault(subject.form, subject)
    return list(known.values())


def run(found: Sequence[Subject], workers: int) -> Iterator[tuple[Subject, list[Outcome]]]:
    """Yield what became of each guard's mutants, in the order in which they are done.

    Args:
        found: the guards.
        workers: how many are tested at a time.
    Raises:
        PromtoolError: promtool did not answer, or a guard's tests fail as they are.
    """
    with ThreadPoolExecutor(workers) as pool:
        longest_first = sorted(found, key=lambda subject: subject.size, reverse=True)
        jobs = {pool.submit(outcomes, subject): subject for subject in longest_first}
        try:
            for job in as_completed(jobs):
                yield jobs[job], job.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def outcomes(subject: Subject) -> list[Outcome]:
    """Return what became of the mutants of one guard; those that Prometheus refuses are left out."""
    found = mutants(subject.rule)
    with tempfile.TemporaryDirectory(prefix="rollguard-") as folder:
        bench = _Bench(subject, found, Path(folder))
        valid = bench.accepted()
        killed = bench.noticed(valid)
        return [
            *(
                _killed(subject, found[index]) if index in killed else _survivor(subject, found[index])
                for index in valid
            ),
            *_unanswered(subject, [found[index] for index in valid], [found[index] for index in killed]),
        ]


def _killed(subject: Subject, mutant: Mutant) -> Outcome:
    return Outcome(subject.path, subject.line, subject.guard, mutant.kind, mutant.name, "killed")


def _survivor(subject: Subject, mutant: Mutant) -> Outcome:
    declared = next((item for item in subject.declared if _names(item, mutant)), None)
    status: Status = "survived"
    reason = ""
    if declared is not None and declared.tolerated:
        status, reason = "tolerated", declared.reason
    elif declared is not None:
        difference = equivalents.difference(subject.rule, mutant.rule, subject.interval)
        status = "falsely declared" if difference else "equivalent"
        reason = difference or declared.reason
    return Outcome(
        subject.path, subject.line, subject.guard, mutant.kind, mutant.name, status, reason,
        _diff(subject.rule, mutant.rule), declared is not None and declared.mutation in subject.own,
    )  # fmt: skip


def _unanswered(subject: Subject, valid: Sequence[Mutant], killed: Sequence[Mutant]) -> Iterator[Outcome]:
    """Yield the declarations that no surviving mutant answers to."""
    for item in subject.declared:
        named = [mutant for mutant in valid if _names(item, mutant)]
        if not named or all(mutant in killed for mutant in named):
            reason = "a test notices it" if named else "there is no such mutant"
            yield Outcome(
                subject.path, subject.line, subject.guard, None, item.mutation, "falsely declared", reason
            )


def _names(item: Equivalent, mutant: Mutant) -> bool:
    return item.mutation in {mutant.name, _NUMBER_OF_ITS_KIND.sub("", mutant.name)}


def _diff(rule: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    return "\n".join(difflib.unified_diff(_lines(rule), _lines(other), "the rule", "the mutant", lineterm=""))


def _lines(rule: Mapping[str, Any]) -> list[str]:
    lasting = [f"for: {rule['for']}"] if "for" in rule else []
    return ["expr:", *(f"  {line}" for line in rule["expr"].splitlines()), *lasting]


class _Bench:
    """One guard's mutants in one rule file, beside the rule itself, and its tests for all of them."""

    def __init__(self, subject: Subject, found: Sequence[Mutant], folder: Path) -> None:
        self.subject, self.found, self.folder = subject, found, folder

    def accepted(self) -> list[int]:
        """Return the mutants that Prometheus can load."""
        every = range(len(self.found))
        self._write_rules(every)
        problems = promtool.check_rules(self.folder / _RULES)
        refused = {int(number) for problem in problems for number in _NUMBERED.findall(problem.key)}
        if problems and not refused:
            raise PromtoolError("\n".join(map(str, problems)))
        return [index for index in every if index not in refused]

    def noticed(self, among: Sequence[int]) -> set[int]:
        """Return the mutants of which a test fails; the quick tests come first."""
        killed: set[int] = set()
        for groups in self._rounds():
            killed |= self._round(groups, [index for index in among if index not in killed])
        return killed

    def _rounds(self) -> Iterator[list[Mapping[str, Any]]]:
        """Yield the tests in portions, the quick ones first."""
        portion: list[Mapping[str, Any]] = []
        evaluations = 0.0
        for group in sorted(self.subject.groups, key=self.subject.cost):
            portion.append(group)
            evaluations += self.subject.cost(group)
            if evaluations >= _EVALUATIONS_IN_A_ROUND:
                yield portion
                portion, evaluations = [], 0.0
        if portion:
            yield portion

    def _round(self, groups: Sequence[Mapping[str, Any]], among: Sequence[int]) -> set[int]:
        """Return which mutants fail; where one cannot be evaluated, the others are tested without it."""
        killed: set[int] = set()
        while left := [index for index in among if index not in killed]:
            output = self._test(groups, left)
            failed = {int(number) for number in _NUMBERED.findall(output)}
            if output and (_UNCHANGED in output or not failed):
                message = f"the tests of {self.subject.guard} fail for the rule as it is"
                raise PromtoolError(f"{self.subject.path}: {message}; run: rollguard test\n{output}")
            killed |= failed
            if _NOT_EVALUATED not in output:
                break
        return killed

    def _test(self, groups: Sequence[Mapping[str, Any]], among: Sequence[int]) -> str:
        self._write_rules(among)
        alert = str(self.subject.rule["alert"])
        names = [_UNCHANGED, *(f"{_NAME}{index}" for index in among)]
        paths: list[Path] = []
        for interval, tests in self._by_interval(groups).items():
            content = {
                "rule_files": [_RULES],
                "evaluation_interval": durations.render(interval),
                "tests": [_for_all(group, alert, names) for group in tests],
            }
            path = self.folder / f"{len(paths)}.test.yml"
            path.write_text(json.dumps(content), encoding="utf-8")
            paths.append(path)
        return promtool.test_output(*paths)

    def _by_interval(self, groups: Sequence[Mapping[str, Any]]) -> dict[float, list[Mapping[str, Any]]]:
        """Return tests by the interval of evaluation that they need; each look apart where that is enough."""
        if self.subject.remembers:
            return {self.subject.interval: list(groups)}
        found: dict[float, list[Mapping[str, Any]]] = {}
        for group in groups:
            for seconds in _looks(group):
                tests = [test for test in group["promql_expr_test"] if _time(test) == seconds]
                one = {**group, "promql_expr_test": tests}
                found.setdefault(seconds or self.subject.interval, []).append(one)
        return found

    def _write_rules(self, among: Sequence[int]) -> None:
        """Write the rules without what is told to people: no test reads it, and it costs time to expand."""
        named = {_UNCHANGED: self.subject.rule}
        named |= {f"{_NAME}{index}": self.found[index].rule for index in among}
        rules = [{**evaluated(rule), "alert": name, "annotations": {}} for name, rule in named.items()]
        group = {"name": "mutants", "rules": rules}
        (self.folder / _RULES).write_text(json.dumps({"groups": [group]}), encoding="utf-8")


def _looks(group: Mapping[str, Any]) -> list[float]:
    """Return the times at which a test group looks, each once, seconds."""
    return sorted({_time(test) for test in group["promql_expr_test"]})


def _time(test: Mapping[str, Any]) -> float:
    return durations.parse(test["eval_time"])


def _for_all(group: Mapping[str, Any], alert: str, names: Sequence[str]) -> dict[str, Any]:
    """Return a test group that expects the same of alerts of other names."""
    return {
        **group,
        "promql_expr_test": [
            {
                **test,
                "expr": _renamed(test["expr"], alert, name),
                "exp_samples": [
                    {**sample, "labels": _renamed(sample["labels"], alert, name)}
                    for sample in test["exp_samples"]
                ],
            }
            for test in group["promql_expr_test"]
            for name in names
        ],
    }


def _renamed(text: str, alert: str, name: str) -> str:
    found = list(tokens(text))
    changes = [
        (value.span, f'"{name}"')
        for label, _, value in zip(found, found[1:], found[2:], strict=False)
        if label.text == "alertname" and value.text == f'"{alert}"'
    ]
    return spliced(text, *changes)
