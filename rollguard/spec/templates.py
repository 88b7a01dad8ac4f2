"""The guard library: templates with typed parameters."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import Field, ValidationError

from rollguard import durations
from rollguard.errors import RollguardError
from rollguard.spec.fields import LIBRARY, Listed, Model, Name, Text, Value
from rollguard.spec.rollout import Guard
from rollguard.spec.rule_tests import Equivalent, TestCase
from rollguard.spec.series import Series
from rollguard.yamlfile import read

ParameterType: TypeAlias = Literal[
    "metric", "histogram", "number", "ratio", "count", "duration", "choice", "labels", "alert", "text",
    "counter", "matchers", "chance", "factor",
]  # fmt: skip

ANY = "any"
"""Name of the series that stands for matchers alone."""

SERIES_TYPES = ("metric", "histogram", "counter")
"""Types of parameters that name series of the rollout; a counter is read for evidence, not by the rule."""

_LABELS = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*(\s*,\s*[a-zA-Z_][a-zA-Z0-9_]*)*")


class GuardError(RollguardError):
    """A template of the guard library is broken."""


class Parameter(Model):
    """What a template asks for."""

    type: ParameterType
    about: Text
    default: Value | None = None
    optional: bool = False
    filled: bool = Field(False, description="Rollguard gives it, never a file.")
    choices: Listed[str] = ()

    @property
    def required(self) -> bool:
        """Whether a guard must give it."""
        return self.default is None and not self.optional

    def convert(self, value: object) -> Any:
        """Return a value from a file in the form that templates use.

        Args:
            value: what the rollout file has.
        Returns:
            A `Series`, a float, an int, seconds or a string, by the parameter's type.
        Raises:
            ValueError: what was expected.
        """
        if self.type == "choice":
            if value not in self.choices:
                raise ValueError(f"expected one of {', '.join(self.choices)}")
            return value
        return _CONVERT[self.type](value)


def _metric(value: object) -> Series:
    if not isinstance(value, str):
        raise ValueError("expected the name of a metric")
    return Series.parse(value)


def _number(value: object) -> float:
    try:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError("expected a finite number")
    except OverflowError:
        raise ValueError("expected a number that fits into 64 bits") from None
    return float(value)


def _ratio(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError("expected 0\u20131")
    return float(value)


def _chance(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        raise ValueError("expected a chance between 0 and 1, such as 0.01")
    return float(value)


def _factor(value: object) -> float:
    found = _number(value)
    if found < 1:
        raise ValueError("expected a factor of 1 or more, such as 1.1")
    return found


def _matchers(value: object) -> Series:
    try:
        found = Series.parse(f"{ANY}{{{value}}}") if isinstance(value, str) else Series(ANY)
    except ValueError:
        found = Series(ANY)
    if not found.matchers:
        raise ValueError('expected matchers such as version="2"')
    return replace(found, foreign=True)


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError("expected a whole number, 0 or more")
    return value


def _seconds(value: object) -> float:
    if not isinstance(value, str):
        raise ValueError("expected a duration with its unit, such as 15s, 10m or 4h")
    seconds = durations.parse(value)
    if seconds <= 0:
        raise ValueError("expected a duration over zero")
    return seconds


def _labels(value: object) -> tuple[str, ...]:
    if not isinstance(value, str) or not _LABELS.fullmatch(value.strip()):
        raise ValueError("expected names of labels, joined by commas, such as symbol, horizon")
    return tuple(label.strip() for label in value.split(","))


def _alert(value: object) -> Series:
    if not isinstance(value, str):
        raise ValueError("expected the name of an alert")
    try:
        named = Series.parse(value)
    except ValueError:
        raise ValueError('expected an alert such as HighErrorRate or HighErrorRate{service="shop"}') from None
    return Series(
        "ALERTS", (("alertname", "=", named.name), ("alertstate", "=", "firing"), *named.matchers), True
    )


def _text(value: object) -> str:
    if not isinstance(value, str) or "{{" in value:
        raise ValueError("expected text without {{")
    return value


_CONVERT: Mapping[str, Callable[[object], Any]] = {
    "metric": _metric,
    "histogram": _metric,
    "counter": _metric,
    "number": _number,
    "ratio": _ratio,
    "count": _count,
    "duration": _seconds,
    "labels": _labels,
    "alert": _alert,
    "text": _text,
    "matchers": _matchers,
    "chance": _chance,
    "factor": _factor,
}


class Template(Model):
    """A guard template of the library."""

    template: Name
    summary: Text
    parameters: dict[str, Parameter]
    any_of: Listed[str] = Field((), description="At least one of these must be given.")
    either: Listed[str] = Field((), description="Exactly one of these is given.")
    order: Listed[str] = Field((), description="If given together, in rising order.")
    together: Listed[str] = Field((), description="All of these are given, or none.")
    raw: Listed[str] = Field((), description="Series whose absence is no data; default: all.")
    raw_with: dict[str, str] = Field({}, description="Where one parameter is given, another is raw, too.")
    beside: dict[str, str] = Field({}, description="Series that must be there where another one is.")
    averaged: dict[str, str] = Field({}, description="Series that are averaged -> over which parameter.")
    judges_absence: bool = Field(
        False, description="Absence says something to it, so that it has no missing data."
    )
    counter: str | None = Field(None, description="The counter that stands still where there is no traffic.")
    single: Listed[str] = Field((), description="Metrics of which one series is meant.")
    instant: dict[str, str] = Field({}, description="Parameters with which a guard may have no `for`.")
    let: dict[str, str] = Field({}, description="Numbers that the tests name: Jinja, in order.")
    window: str | None = Field(None, description="The parameter that says how far back the guard looks.")
    quiet: str | None = Field(
        None, description="The parameter after which a still counter is no traffic; default: `window`."
    )
    expr: str
    condition: str = Field(description="The condition in words, with threshold and unit; Jinja.")
    tests: Listed[TestCase]
    equivalent: Listed[Equivalent] = ()

    def bind(self, values: Mapping[str, Value]) -> dict[str, Any]:
        """Return all parameters, converted, defaults filled in, None where an optional one is not given.

        Args:
            values: what a guard's ``with`` gives; must have passed `check`.
        """
        given = {name: self.parameters[name].convert(value) for name, value in values.items()}
        defaults = {
            name: None if parameter.default is None else parameter.convert(parameter.default)
            for name, parameter in self.parameters.items()
        }
        return defaults | given


@cache
def library() -> Mapping[str, Template]:
    """Return the guard templates by name.

    Raises:
        GuardError: a template's file is broken.
    """
    folder = resources.files("rollguard.alerts") / "library"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".yaml"))
    templates = [_load(Path(str(folder / name))) for name in names]
    return {template.template: template for template in templates}


def _load(path: Path) -> Template:
    document = read(path)
    if document.problems:
        raise GuardError("\n".join(map(str, document.problems)))
    try:
        return Template.model_validate(document.data, context=LIBRARY)
    except ValidationError as error:
        raise GuardError(f"{path}: {error}") from error


def template_of(guard: Guard) -> Template:
    """Return what a guard's rule and tests are rendered from: a template of the library, or its own keys.

    Args:
        guard: of a checked rollout.
    """
    if guard.use is not None:
        return library()[guard.use]
    assert guard.expr is not None
    assert guard.condition is not None
    parameters = {
        name: Parameter(type="metric", about="One of the guard's metrics.") for name in guard.metrics
    }
    if guard.window is not None:
        parameters["window"] = Parameter(type="duration", about="How far back it looks.")
    return Template.model_construct(
        template=guard.alert,
        summary=guard.summary or guard.condition,
        parameters=parameters,
        raw=guard.raw,
        window=None if guard.window is None else "window",
        let=guard.let,
        expr=guard.expr,
        condition=guard.condition,
        tests=guard.tests,
    )
