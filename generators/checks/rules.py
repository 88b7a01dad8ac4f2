"""Does Prometheus accept what is rendered, and every criterion? Where not, a caret shows the place."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from rollguard.errors import Problem
from rollguard.generators.checks.context import CheckContext, Finding, LoadedRollout
from rollguard.generators.promql import syntax
from rollguard.generators.promql.syntax import PromQLError
from rollguard.generators.rules.alerting import RenderingError, evaluated
from rollguard.generators.tools import promtool
from rollguard.spec.guards import all_guards
from rollguard.yamlfile import Location

NAME = "rules"
_CRITERIA = "criteria.json"
_CRITERION = re.compile(r"guard Criterion(\d+)x(\d+)$")
_PLACE = re.compile(r"(?P<line>\d+):(?P<column>\d+): parse error: (?P<words>.*?)\.?$")


def check(material: CheckContext) -> Iterator[Finding]:
    """Yield what promtool refuses, at the key that it came from."""
    folder = material.folder / "rules"
    by_file = {f"{item.rollout.name}.rules.yml": item for item in material.checked}
    names = [name for name in material.files if name.startswith("rules/")]
    criteria = material.folder / _CRITERIA
    criteria.write_text(json.dumps(_criteria(material)), encoding="utf-8")
    for problem in promtool.check_rules(*(material.folder / name for name in names), criteria):
        if problem.path.parent == folder and problem.path.name in by_file:
            yield Finding(NAME, "error", _of_rule(by_file[problem.path.name], problem))
        elif match := _CRITERION.search(problem.key):
            item = material.checked[int(match[1])]
            yield Finding(NAME, "error", _of_criterion(item, int(match[2]), problem))
        else:
            yield Finding(NAME, "error", replace(problem, path=problem.path.relative_to(material.folder)))


def _criteria(material: CheckContext) -> Mapping[str, Any]:
    """Criteria as the rules of a file that only promtool reads."""
    rules = [
        {"alert": f"Criterion{number}x{index}", "expr": expr}
        for number, item in enumerate(material.checked)
        for index, (_, expr) in enumerate(item.criteria())
    ]
    return {"groups": [{"name": "criteria", "rules": rules}] if rules else []}


def _of_criterion(item: LoadedRollout, index: int, problem: Problem) -> Problem:
    location, expr = list(item.criteria())[index]
    return item.problem(location, _message(problem.message, expr))


def _of_rule(item: LoadedRollout, problem: Problem) -> Problem:
    name = problem.key.removeprefix("guard ")
    for guard, rule in item.rules:
        if guard.alert == name:
            location, expr = item.location(guard), evaluated(rule)["expr"]  # whose places promtool names
            return item.problem(
                _parameter(item, location, problem.message, expr), _message(problem.message, expr)
            )
    return item.problem(("guards",), problem.message)


def _message(message: str, expr: str) -> str:
    """Return promtool's words with the line of the expression that they mean, and a caret."""
    match = _PLACE.search(message)
    if match is None:
        return message
    line = expr.splitlines()[int(match["line"]) - 1]
    shown = line.encode()[: int(match["column"]) - 1].decode(errors="replace")
    return f"is not PromQL: {match['words']}\n    {line}\n    {' ' * len(shown)}^"


def _parameter(item: LoadedRollout, location: Location, message: str, expr: str) -> Location:
    """Return the key of the value that brought the refused text into the expression."""
    match = _PLACE.search(message)
    word = _word_at(expr, int(match["line"]), int(match["column"])) if match else ""
    return item.holding(location, word) if word else location


def _word_at(expr: str, line: int, column: int) -> str:
    """Return the word at or just before a place, as promtool points behind what it did not expect."""
    place = sum(len(text) + 1 for text in expr.splitlines()[: line - 1]) + column - 1
    try:
        before = [token for token in syntax.tokens(expr) if token.kind == "name" and token.start <= place]
    except PromQLError:
        return ""
    return before[-1].text if before else ""


def rendering_problems(item: LoadedRollout) -> Iterator[Problem]:
    """Yield what keeps each of a rollout's guards, and its tests, from being rendered."""
    for guard in all_guards(item.rollout):
        try:
            with suppress(PromQLError):  # promtool says what is wrong with what can be rendered
                item.cases(guard)
        except RenderingError as error:
            message = f"cannot be rendered: {error.message}."
            yield item.problem((*item.location(guard), error.key), message, error.hint)
