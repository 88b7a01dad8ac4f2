"""Series as a guard names them: one metric with matchers, never an expression."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Annotated

from pydantic import StringConstraints, TypeAdapter, ValidationError
from pydantic_core import SchemaError

from rollguard.conventions import ROLLOUT_LABEL

_SERIES = re.compile(r"(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)\s*(?:\{(?P<matchers>[^{}]*)\})?")
_MATCHER = re.compile(
    r'\s*(?P<label>[a-zA-Z_][a-zA-Z0-9_]*)\s*(?P<op>=~|!~|!=|=)\s*"(?P<value>(?:[^"\\]|\\.)*)"\s*'
)
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_PLAIN = re.compile(r"[\w -]+")


@dataclass(frozen=True)
class Series:
    """One metric with matchers: what a guard reads.

    Args:
        name: the metric's name.
        matchers: label, operator and value (as in PromQL, escapes kept) of each matcher.
        foreign: whether it is no series of a rollout, and so lacks the label.
    """

    name: str
    matchers: tuple[tuple[str, str, str], ...] = ()
    foreign: bool = False

    @classmethod
    def parse(cls, text: str) -> Series:
        """Return the series that a text names.

        Args:
            text: ``metric`` or ``metric{label="value"}``.
        Raises:
            ValueError: it is an expression, or not PromQL.
        """
        match = _SERIES.fullmatch(text.strip())
        if match is None:
            raise ValueError('expected one metric such as winrate_canary or fill_rate{route="canary"}')
        return cls(match["name"], tuple(_matchers(match["matchers"] or "")))

    def within(self, rollout: str) -> Series:
        """Return the same series of one rollout only."""
        if self.foreign:
            return self
        return replace(self, matchers=((ROLLOUT_LABEL, "=", rollout), *self.matchers))

    @property
    def own_matchers(self) -> tuple[tuple[str, str, str], ...]:
        """The matchers that a person wrote."""
        return tuple(matcher for matcher in self.matchers if matcher[0] != ROLLOUT_LABEL)

    def suffixed(self, suffix: str) -> Series:
        """Return the series of the same matchers whose name has a suffix, as a histogram's have."""
        return replace(self, name=f"{self.name}{suffix}")

    def narrowed(self, scope: Mapping[str, Sequence[str]]) -> Series:
        """Return the series with a matcher for each label of a scope.

        Args:
            scope: label → the values that count, plain names.
        """
        added = (
            (label, "=~", "|".join(values)) if len(values) > 1 else (label, "=", values[0])
            for label, values in scope.items()
        )
        return replace(self, matchers=(*self.matchers, *added))

    def example(self) -> Series:
        """Return one series that the matchers select, for tests.

        Raises:
            ValueError: the matchers give no example.
        """
        labels: dict[str, str] = {}
        for label, op, value in self.matchers:
            first = value.split("|")[0] if op == "=~" else value
            if op == "=~" and not _PLAIN.fullmatch(first):
                raise ValueError(f'{label}=~"{value}" gives no example: expected plain names joined by |')
            if op in {"=", "=~"}:
                labels[label] = first
        for label, op, value in self.matchers:
            if not _selects(op, value, labels.get(label, "")):
                raise ValueError(f'{label}{op}"{value}" gives no example: add a matcher {label}="…"')
        return replace(self, matchers=tuple((label, "=", value) for label, value in labels.items()))

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Return whether the matchers accept a series with these labels."""
        return all(_selects(op, value, labels.get(label, "")) for label, op, value in self.matchers)

    def __str__(self) -> str:
        inside = ",".join(f'{label}{op}"{value}"' for label, op, value in self.matchers)
        return f"{self.name}{{{inside}}}" if inside else self.name


def narrowing_problem(label: str, values: object) -> str:
    """Return why series cannot be narrowed to these values of a label; nothing if they can."""
    if not _LABEL.fullmatch(label):
        return f"{label} cannot be the name of a label"
    odd = (
        next((value for value in values if not _is_plain(value)), None) if isinstance(values, list) else None
    )
    return "" if odd is None else f"{odd} is no plain name"


def _is_plain(value: object) -> bool:
    return isinstance(value, str) and _PLAIN.fullmatch(value) is not None


def _selects(op: str, value: str, label: str) -> bool:
    if op in {"=", "!="}:
        return (label == value) == (op == "=")
    try:
        _pattern(value).validate_python(label)
    except SchemaError:
        return False
    except ValidationError:
        return op == "!~"
    return op == "=~"


@lru_cache(maxsize=256)
def _pattern(value: str) -> TypeAdapter[str]:
    """Return a regular expression, of an engine that never backtracks, as that of Prometheus."""
    return TypeAdapter(Annotated[str, StringConstraints(pattern=f"^(?s:{value})$")])


def _matchers(text: str) -> Iterator[tuple[str, str, str]]:
    position = 0
    while position < len(text.rstrip()):
        match = _MATCHER.match(text, position)
        if match is None or (match.end() < len(text) and text[match.end()] != ","):
            raise ValueError('expected matchers such as {route="canary",symbol=~"A.*"}')
        if match["label"] == ROLLOUT_LABEL:
            raise ValueError("expected no matcher for rollout: Rollguard adds it")
        yield match["label"], match["op"], match["value"]
        position = match.end() + 1
