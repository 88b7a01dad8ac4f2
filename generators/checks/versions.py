"""Does every Prometheus since 2.42 read it alike? What version 3 refuses, or reads otherwise."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rollguard.generators.checks.context import CheckContext, Finding
from rollguard.generators.promql import syntax
from rollguard.generators.promql.syntax import Expression, PromQLError

NAME = "versions"

_RENAMED = {"holt_winters": "double_exponential_smoothing, behind a feature flag"}
_FLOATS = ("le", "quantile")
"""Labels whose values version 3 writes as floats: 1 becomes 1.0."""

_WHOLE = re.compile(r"-?\d+")


def check(material: CheckContext) -> Iterator[Finding]:
    """Yield what guards and criteria say that version 3 refuses or reads otherwise."""
    for item in material.checked:
        for location, expr in item.expressions():
            try:
                parsed = syntax.parse(expr)
            except PromQLError:
                continue  # the check of rules says so
            for message, hint in (*_functions(parsed), *_bounds(parsed)):
                yield Finding(NAME, "warning", item.problem(location, message, hint))


def _functions(parsed: Expression) -> Iterator[tuple[str, str]]:
    for token in parsed.tokens:
        if token.kind == "name" and token.text in _RENAMED:
            yield f"calls {token.text}, which Prometheus 3 does not know.", f"It has {_RENAMED[token.text]}."


def _bounds(parsed: Expression) -> Iterator[tuple[str, str]]:
    for selector in parsed.selectors:
        for matcher in selector.matchers:
            value = matcher.value[1:-1]
            if matcher.label in _FLOATS and matcher.operator in {"=", "!="} and _WHOLE.fullmatch(value):
                message = f"selects {matcher.label}={matcher.value}, which Prometheus 3 stores as {value}.0."
                yield message, f'Write {matcher.label}=~"{value}(\\\\.0)?", which both know.'
