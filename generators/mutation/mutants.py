"""Mutants of an alerting rule: the small mistakes that a person makes, one at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from rollguard import durations
from rollguard.generators.promql import syntax
from rollguard.generators.promql.syntax import Binary, Expression, Selector, Span, spliced
from rollguard.generators.rules.expressions import number

Kind: TypeAlias = Literal[
    "threshold", "comparator", "for", "window", "operator", "clause", "label", "function"
]

THRESHOLD_STEP_RATIO = 0.01
_FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "==": "!=", "!=": "=="}
_STRICTNESS = {"<": "<=", ">": ">=", "<=": "<", ">=": ">"}
_FUNCTIONS = {"rate": "increase", "increase": "rate"}
_SHORT = 60


@dataclass(frozen=True)
class Mutant:
    """A rule with one mistake.

    Args:
        kind: what sort of mistake.
        name: what was done, in words, one of its kind within the rule.
        rule: the mutated rule.
    """

    kind: Kind
    name: str
    rule: Mapping[str, Any]


Change: TypeAlias = tuple[Kind, str, str]
"""Kind, name and the expression that it gives."""


def mutants(rule: Mapping[str, Any]) -> list[Mutant]:
    """Return the mutants of an alerting rule.

    Args:
        rule: with ``expr`` and perhaps ``for``.
    Returns:
        Mutants with names of their own; a rule that Prometheus refuses may be among them.
    Raises:
        PromQLError: the expression is none.
    """
    found = [Mutant(kind, name, {**rule, "expr": expr}) for kind, name, expr in expressions(rule["expr"])]
    found += [
        Mutant("for", f"for: {rule['for']} becomes {other}", {**rule, "for": other})
        for other in (_times(rule["for"]) if "for" in rule else ())
    ]
    return list(_numbered(found))


def expressions(expr: str) -> Iterator[Change]:
    """Yield every changed form of an expression that differs from it."""
    parsed = syntax.parse(expr)
    changes = (
        _thresholds(parsed),
        _comparators(parsed),
        _windows(parsed),
        _operators(parsed),
        _clauses(parsed),
        _labels(parsed),
        _functions(parsed),
    )
    for found in changes:
        yield from (change for change in found if change[2] != expr)


def _numbered(found: Iterable[Mutant]) -> Iterator[Mutant]:
    seen: dict[str, int] = {}
    for mutant in found:
        seen[mutant.name] = count = seen.get(mutant.name, 0) + 1
        name = mutant.name if count == 1 else f"{mutant.name} ({count})"
        yield Mutant(mutant.kind, name, mutant.rule)


def _times(duration: str) -> list[str]:
    return [durations.render(durations.parse(duration) * factor) for factor in (0.5, 2.0)]


def _thresholds(parsed: Expression) -> Iterator[Change]:
    for index, token in enumerate(parsed.tokens):
        constant = [before.text for before in parsed.tokens[max(0, index - 2) : index]] == ["vector", "("]
        if token.kind != "number" or constant:  # what is held to nothing is no threshold
            continue
        value = float(int(token.text, 16)) if token.text[:2].lower() == "0x" else float(token.text)
        step = (abs(value) or 1.0) * THRESHOLD_STEP_RATIO
        for other in (number(value + step), number(value - step)):
            text = f"({other})" if other.startswith("-") else other
            yield "threshold", f"{token.text} becomes {other}", spliced(parsed.text, (token.span, text))


def _comparators(parsed: Expression) -> Iterator[Change]:
    for binary in parsed.binaries:
        old = binary.operator.text
        for changed in (_FLIPPED, _STRICTNESS):
            if old in changed:
                text = spliced(parsed.text, (binary.operator.span, changed[old]))
                yield "comparator", f"{old} becomes {changed[old]}", text


def _windows(parsed: Expression) -> Iterator[Change]:
    for token in parsed.tokens:
        for other in _times(token.text) if token.kind == "duration" else ():
            yield "window", f"{token.text} becomes {other}", spliced(parsed.text, (token.span, other))


def _operators(parsed: Expression) -> Iterator[Change]:
    for binary in _clauses_of(parsed):
        for other in syntax.SET_OPERATORS:
            if other != binary.operator.text.lower():
                text = spliced(parsed.text, (binary.operator.span, other))
                yield "operator", f"{binary.operator.text} becomes {other}", text


def _clauses(parsed: Expression) -> Iterator[Change]:
    for binary in _clauses_of(parsed):
        operator = binary.operator.text.lower()
        whole: Span = binary.left[0], binary.right[1]
        right = parsed.text[slice(*binary.right)]
        yield "clause", f"without {operator} {_short(right)}", _only(parsed.text, whole, binary.left)
        if operator != "unless":
            left = parsed.text[slice(*binary.left)]
            yield "clause", f"without {_short(left)} {operator}", _only(parsed.text, whole, binary.right)


def _clauses_of(parsed: Expression) -> list[Binary]:
    return [binary for binary in parsed.binaries if binary.operator.text.lower() in syntax.SET_OPERATORS]


def _only(text: str, whole: Span, kept: Span) -> str:
    return spliced(text, (whole, text[slice(*kept)]))


def _short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= _SHORT else f"{words[: _SHORT - 1]}…"


def _functions(parsed: Expression) -> Iterator[Change]:
    following = zip(parsed.tokens, parsed.tokens[1:], strict=False)
    for token in (token for token, after in following if after.text == "("):
        if token.text in _FUNCTIONS:
            other = _FUNCTIONS[token.text]
            yield "function", f"{token.text} becomes {other}", spliced(parsed.text, (token.span, other))


def _labels(parsed: Expression) -> Iterator[Change]:
    """Yield the expression without each matcher.

    Where selectors are joined on a label for which both have the same matcher, one alone is redundant: both
    lose it.
    """
    joined: dict[tuple[int, int], int] = {}
    for index, selector in enumerate(parsed.selectors):
        for place in range(len(selector.matchers)):
            joined[index, place] = len(joined)
    for binary in parsed.binaries:
        _join(parsed, binary, joined)
    for group in dict.fromkeys(joined.values()):
        dropped = [key for key, value in joined.items() if value == group]
        texts = dict.fromkeys(_matcher(parsed, key) for key in dropped)
        metrics = dict.fromkeys(parsed.selectors[index].metric for index, _ in dropped)
        name = f"without {', '.join(texts)} of {', '.join(metrics)}"
        if all(_may_lose(parsed.selectors[index]) for index, _ in dropped):
            changes = [_without(parsed.selectors[index], place) for index, place in dropped]
            yield "label", name, spliced(parsed.text, *changes)


def _join(parsed: Expression, binary: Binary, joined: dict[tuple[int, int], int]) -> None:
    if binary.operator.text.lower() == "or" or binary.on is None:
        return
    for label in binary.on:
        sides = [
            [key for key in joined if _within(parsed.selectors[key[0]], side) and _fixes(parsed, key, label)]
            for side in (binary.left, binary.right)
        ]
        told = [{_matcher(parsed, key) for key in side} for side in sides]
        sides = [[key for key in side if _matcher(parsed, key) in told[0] & told[1]] for side in sides]
        if binary.operator.text.lower() == "unless":  # the left side alone decides what may be taken away
            sides[0] = sides[0][:1]
        groups = {joined[key] for side in sides for key in side}
        for key, group in joined.items():
            if group in groups:
                joined[key] = min(groups)


def _within(selector: Selector, span: Span) -> bool:
    return span[0] <= selector.place < span[1]


def _fixes(parsed: Expression, key: tuple[int, int], label: str) -> bool:
    matcher = parsed.selectors[key[0]].matchers[key[1]]
    return matcher.operator in {"=", "=~"} and matcher.label == label


def _matcher(parsed: Expression, key: tuple[int, int]) -> str:
    matcher = parsed.selectors[key[0]].matchers[key[1]]
    return f"{matcher.label}{matcher.operator}{matcher.value}"


def _may_lose(selector: Selector) -> bool:
    return bool(selector.metric) or len(selector.matchers) > 1


def _without(selector: Selector, place: int) -> tuple[Span, str]:
    kept = [matcher for index, matcher in enumerate(selector.matchers) if index != place]
    inside = ",".join(f"{matcher.label}{matcher.operator}{matcher.value}" for matcher in kept)
    assert selector.braces is not None
    return selector.braces, f"{{{inside}}}" if inside else ""
