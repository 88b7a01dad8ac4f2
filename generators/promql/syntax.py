"""PromQL as tokens and operands, each with its place in the text: a change leaves the rest as it was."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, TypeAlias

from rollguard import durations
from rollguard.errors import RollguardError

Kind: TypeAlias = Literal["space", "string", "duration", "number", "name", "operator"]
Span: TypeAlias = tuple[int, int]
"""Start and end within the text, as a slice has them."""

_TOKEN = re.compile(
    r"""
      (?P<space>\s+|\#[^\n]*)
    | (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`)
    | (?P<duration>(?:[0-9]+(?:ms|[smhdwy]))+(?![a-zA-Z0-9_]))
    | (?P<number>0[xX][0-9a-fA-F]+|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)
    | (?P<name>[a-zA-Z_][a-zA-Z0-9_:]*)
    | (?P<operator>=~|!~|==|!=|<=|>=|[-+*/%^<>=@:,(){}\[\]])
    """,
    re.VERBOSE,
)
_PRECEDENCE = {
    "or": 1, "and": 2, "unless": 2,
    "==": 3, "!=": 3, "<": 3, "<=": 3, ">": 3, ">=": 3,
    "+": 4, "-": 4, "*": 5, "/": 5, "%": 5, "atan2": 5, "^": 6,
}  # fmt: skip
COMPARATORS = ("==", "!=", "<=", ">=", "<", ">")
SET_OPERATORS = ("and", "or", "unless")
_SHOWN = 60


class PromQLError(RollguardError):
    """A text is not PromQL.

    Args:
        text: from the place on where it is not, or all of it.
        why: what was expected.
    """

    def __init__(self, text: str, why: str) -> None:
        line = text.strip().splitlines()[0] if text.strip() else ""
        shown = line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"
        super().__init__(f"{shown!r} {why}. Its place is shown by: rollguard check")


@dataclass(frozen=True)
class Token:
    """The smallest part with a meaning of its own."""

    kind: Kind
    text: str
    start: int

    @property
    def span(self) -> Span:
        """Where it stands."""
        return self.start, self.start + len(self.text)


@dataclass(frozen=True)
class Matcher:
    """One condition on a label, such as ``route="canary"``."""

    label: str
    operator: str
    value: str
    span: Span


@dataclass(frozen=True)
class Selector:
    """A selection of series: metric, matchers, and how it is read.

    Args:
        metric: the name; empty where only matchers select.
        matchers: in the order of the text.
        braces: where the braces stand; None where there are none.
        place: where it begins.
        function: the function whose argument it is, or nothing.
        window: the range, as written; empty for an instant vector.
    """

    metric: str
    matchers: tuple[Matcher, ...]
    braces: Span | None
    place: int
    function: str
    window: str


@dataclass(frozen=True)
class Binary:
    """An operator between two operands.

    Args:
        operator: its token.
        on: labels of ``on``; None where there is none.
        left: the operand's place.
        right: the operand's place.
    """

    operator: Token
    on: tuple[str, ...] | None
    left: Span
    right: Span


@dataclass
class Expression:
    """A parsed expression: all of its parts, in no particular nesting."""

    text: str
    tokens: list[Token]
    selectors: list[Selector] = field(default_factory=list)
    binaries: list[Binary] = field(default_factory=list)


def tokens(text: str) -> Iterator[Token]:
    """Yield an expression's tokens without spaces and comments.

    Raises:
        PromQLError: a character begins no token.
    """
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise PromQLError(text[position:], "is not PromQL")
        if match.lastgroup != "space":
            kind: Kind = match.lastgroup  # type: ignore[assignment]
            yield Token(kind, match[0], position)
        position = match.end()


def parse(text: str) -> Expression:
    """Return an expression's parts.

    Args:
        text: PromQL that Prometheus accepts; what it would refuse may pass here.
    Raises:
        PromQLError: the text ends too early, or goes on after its end.
    """
    parser = _Parser(text)
    try:
        parser.expression()
    except RecursionError as error:
        raise PromQLError(text, "is nested too deeply") from error
    if parser.position < len(parser.tokens):
        raise PromQLError(text[parser.tokens[parser.position].start :], "follows the end")
    return parser.found


def spliced(text: str, *changes: tuple[Span, str]) -> str:
    """Return a text with other texts in places that do not overlap."""
    for (start, end), other in sorted(changes, reverse=True):
        text = text[:start] + other + text[end:]
    return text


def past_edges(text: str) -> str:
    """Return an expression with each range a millisecond longer, so that every Prometheus reads it alike.

    A range of several scrape intervals may begin at a sample, which Prometheus 2 counts and 3 does not.
    """
    try:
        found = [*tokens(text)]
    except PromQLError:
        return text  # who checks rules says so
    ranges = (token for before, token in pairwise(found) if before.text == "[" and token.kind == "duration")
    longer = ((token.span, durations.render(durations.parse(token.text) + 0.001)) for token in ranges)
    return spliced(text, *longer)


class _Parser:
    """Precedence climbing; notes each part with its place."""

    def __init__(self, text: str) -> None:
        self.tokens = list(tokens(text))
        self.found = Expression(text, self.tokens)
        self.position = 0
        self._function = ""

    def expression(self, least: int = 1) -> None:
        start = self.position
        self._unary()
        while (precedence := _PRECEDENCE.get(self._next().lower(), 0)) >= least:
            operator, end = self.position, self.position
            self.position += 1
            on = self._matching()
            right = self.position
            self.expression(precedence if self.tokens[operator].text == "^" else precedence + 1)
            self.found.binaries.append(
                Binary(self.tokens[operator], on, self._span(start, end), self._span(right, self.position))
            )

    def _span(self, start: int, end: int) -> Span:
        return self.tokens[start].start, self.tokens[end - 1].span[1]

    def _next(self) -> str:
        return self.tokens[self.position].text if self.position < len(self.tokens) else ""

    def _take(self) -> Token:
        if self.position >= len(self.tokens):
            raise PromQLError(self.found.text, "ends too early")
        self.position += 1
        return self.tokens[self.position - 1]

    def _expect(self, text: str) -> None:
        token = self._take()
        if token.text != text:
            raise PromQLError(self.found.text[token.start :], f"begins where {text} is expected")

    def _matching(self) -> tuple[str, ...] | None:
        on = None
        while self._next().lower() in {"bool", "on", "ignoring", "group_left", "group_right"}:
            word = self._take().text.lower()
            if word != "bool" and self._next() == "(":
                labels = self._labels()
                on = labels if word == "on" else on
        return on

    def _labels(self) -> tuple[str, ...]:
        self._expect("(")
        found = []
        while (token := self._take()).text != ")":
            if token.text != ",":
                found.append(token.text)
        return tuple(found)

    def _unary(self) -> None:
        if self._next() in {"+", "-"}:
            self.position += 1
            self.expression(_PRECEDENCE["^"])
        else:
            self._operand()

    def _operand(self) -> None:
        token = self._take()
        if token.text == "(":
            self.expression()
            self._expect(")")
        elif token.text == "{" or (token.kind == "name" and not self._is_call()):
            self._selector(token)
        elif token.kind == "name":
            self._call(token.text)
        elif token.kind not in {"number", "string", "duration"}:
            raise PromQLError(self.found.text[token.start :], "begins where an operand is expected")
        self._range()
        self._offset()

    def _is_call(self) -> bool:
        return self._next() == "(" or self._next().lower() in {"by", "without"}

    def _call(self, name: str) -> None:
        self._grouping()
        outer, self._function = self._function, name
        self._expect("(")
        while self._next() != ")":
            self.expression()
            if self._next() == ",":
                self.position += 1
        self._expect(")")
        self._function = outer
        self._grouping()

    def _grouping(self) -> None:
        if self._next().lower() in {"by", "without"}:
            self.position += 1
            self._labels()

    def _selector(self, token: Token) -> None:
        metric, matchers, braces = ("", (), None) if token.text == "{" else (token.text, (), None)
        found: tuple[Matcher, ...] = matchers
        place: Span | None = braces
        if token.text == "{" or self._next() == "{":
            opening = token if token.text == "{" else self._take()
            found = tuple(self._matchers())
            place = (opening.start, self.tokens[self.position - 1].span[1])
        window = ""
        if self._next() == "[":
            window = self.tokens[self.position + 1].text
        self.found.selectors.append(Selector(metric, found, place, token.start, self._function, window))

    def _matchers(self) -> Iterator[Matcher]:
        while (token := self._take()).text != "}":
            if token.text == ",":
                continue
            operator, value = self._take(), self._take()
            yield Matcher(token.text, operator.text, value.text, (token.start, value.span[1]))

    def _range(self) -> None:
        if self._next() == "[":
            while self._take().text != "]":
                pass

    def _offset(self) -> None:
        while self._next().lower() in {"offset", "@"}:
            self.position += 1
            if self._next() in {"+", "-"}:
                self.position += 1
            if self._take().kind == "name":  # start() or end()
                self._labels()
