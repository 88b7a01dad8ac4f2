"""The guard library: templates with typed parameters, and the values that a rollout gives them."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import Field, ValidationError

from rollguard import durations
from rollguard.conventions import ROLLOUT_LABEL
from rollguard.errors import RollguardError
from rollguard.model import Listed, Model, Name, Text, Value
from rollguard.spec import Guard, Rollout
from rollguard.yamlfile import Location, read, shown

ParameterType: TypeAlias = Literal["metric", "number", "ratio", "count", "duration", "choice", "text"]

_SERIES = re.compile(r"(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)\s*(?:\{(?P<matchers>[^{}]*)\})?")
_MATCHER = re.compile(
    r'\s*(?P<label>[a-zA-Z_][a-zA-Z0-9_]*)\s*(?P<op>=~|!~|!=|=)\s*"(?P<value>(?:[^"\\]|\\.)*)"\s*'
)


_NO_DATA_INTERVALS = 4
NO_DATA = "NoData"
"""Ends the names of the guards that see another guard's series vanish."""


class GuardError(RollguardError):
    """A template of the guard library is broken."""


@dataclass(frozen=True)
class Series:
    """One metric with matchers: what a guard reads.

    Args:
        name: the metric's name.
        matchers: label, operator and value (as in PromQL, escapes kept) of each matcher.
    """

    name: str
    matchers: tuple[tuple[str, str, str], ...] = ()

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
        return Series(self.name, ((ROLLOUT_LABEL, "=", rollout), *self.matchers))

    def example(self) -> Series:
        """Return one series that the matchers select, for tests.

        Raises:
            ValueError: the matchers give no example.
        """
        labels: dict[str, str] = {}
        for label, op, value in self.matchers:
            first = value.split("|")[0] if op == "=~" else value
            if op == "=~" and not re.fullmatch(r"[\w -]+", first):
                raise ValueError(f'{label}=~"{value}" gives no example: expected plain names joined by |')
            if op in {"=", "=~"}:
                labels[label] = first
        for label, op, value in self.matchers:
            if not _selects(op, value, labels.get(label, "")):
                raise ValueError(f'{label}{op}"{value}" gives no example: add a matcher {label}="…"')
        return Series(self.name, tuple((label, "=", value) for label, value in labels.items()))

    def __str__(self) -> str:
        inside = ",".join(f'{label}{op}"{value}"' for label, op, value in self.matchers)
        return f"{self.name}{{{inside}}}" if inside else self.name


def _selects(op: str, value: str, label: str) -> bool:
    try:
        same = label == value if op in {"=", "!="} else re.fullmatch(value, label) is not None
    except re.error:
        return False
    return same == (op in {"=", "=~"})


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


class Parameter(Model):
    """What a template asks for."""

    type: ParameterType
    about: Text
    default: Value | None = None
    optional: bool = False
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


def _text(value: object) -> str:
    if not isinstance(value, str) or "{{" in value:
        raise ValueError("expected text without {{")
    return value


_CONVERT: Mapping[str, Callable[[object], Any]] = {
    "metric": _metric,
    "number": _number,
    "ratio": _ratio,
    "count": _count,
    "duration": _seconds,
    "text": _text,
}


class TestSeries(Model):
    """One input of a test: the series of a metric parameter, and its values."""

    __test__ = False  # not a test class, whatever pytest thinks of its name

    of: str = Field(description="A parameter of type metric; left out where the guard does not give it.")
    values: str = Field(description="Jinja; a number to hold, or promtool's notation.")


class TestCase(Model):
    """A promtool test in terms of the parameters."""

    __test__ = False

    case: Literal["fires", "silent", "absent"]
    about: Text
    given: Listed[str] = Field((), description="Left out where one of these is not given.")
    unless: Listed[str] = Field((), description="Left out where one of these is given.")
    series: Listed[TestSeries] = ()
    starts: str = Field("0", description="Jinja; seconds from which on the condition holds.")
    lasts: str = Field("0", description="Jinja; seconds that it still holds when the breach is over.")
    needs: str = Field("0", description="Jinja; seconds of breach, after calm, until it holds.")


class Equivalent(Model):
    """A mutant of a template's rules that no test can notice, and why."""

    mutation: str = Field(description="Its name as `rollguard test --mutate` shows it; Jinja, may be empty.")
    reason: Text


class Template(Model):
    """A guard template of the library."""

    template: Name
    summary: Text
    parameters: dict[str, Parameter]
    any_of: Listed[str] = Field((), description="At least one of these must be given.")
    order: Listed[str] = Field((), description="If given together, in rising order.")
    together: Listed[str] = Field((), description="All of these are given, or none.")
    raw: Listed[str] = Field((), description="Series whose absence is no data; the first given.")
    window: str | None = Field(None, description="The parameter that says how far back the guard looks.")
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
    folder = resources.files("alerts") / "library"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".yaml"))
    templates = [_load(Path(str(folder / name))) for name in names]
    return {template.template: template for template in templates}


def _load(path: Path) -> Template:
    document = read(path)
    if document.problems:
        raise GuardError("\n".join(map(str, document.problems)))
    try:
        return Template.model_validate(document.data)
    except ValidationError as error:
        raise GuardError(f"{path}: {error}") from error


class NoDataGuard(Guard):
    """The guard that sees another one's series vanish."""

    @property
    def runbook(self) -> str:
        """All of them share a page."""
        return NO_DATA


def all_guards(rollout: Rollout) -> list[Guard]:
    """Return a rollout's guards, each followed by the one that sees its series vanish (``…NoData``).

    Args:
        rollout: a checked rollout.
    Returns:
        The guards as written and those derived from their ``no_data``, by the template ``absent``.
    """
    guards = []
    for guard in rollout.guards:
        guards.append(guard)
        if guard.no_data != "ignore" and (raw := _raw_series(guard)):
            guards.append(
                NoDataGuard.model_construct(
                    alert=f"{guard.alert}{NO_DATA}",
                    use="absent",
                    with_=tuple({"metric": series} for series in raw),
                    # Just after its own start, Prometheus has no data of anything.
                    for_=_NO_DATA_INTERVALS * rollout.scrape.interval,
                    stages=guard.stages,
                    severity="warning",
                    action=guard.no_data,
                    no_data="ignore",
                    summary=f"The guard {guard.alert} has no data.",
                )
            )
    return guards


def longest_look_back(rollout: Rollout) -> float:
    """Return the longest window plus ``for`` of a rollout's guards, seconds: how long a breach may echo."""
    return max(_window(guard) + guard.for_ for guard in rollout.guards)


def _window(guard: Guard) -> float:
    template = library()[guard.use]
    if template.window is None:
        return 0.0
    return max(float(template.bind(values)[template.window] or 0) for values in guard.bindings)


def _raw_series(guard: Guard) -> list[str]:
    template = library()[guard.use]
    found: dict[str, None] = {}
    for values in guard.bindings:
        name = next((name for name in template.raw if name in values), None)
        if name is not None:
            found[str(values[name])] = None
    return list(found)


Finding: TypeAlias = tuple[Location, str, str]
"""Where within the guard, what is wrong, how to mend it."""


def check(use: object, given: object, rollout: str) -> Iterator[Finding]:
    """Yield what is wrong with a guard's template and parameters.

    Args:
        use: the template's name, as in the file.
        given: the parameters, as in the file: a mapping, or a list of mappings.
        rollout: the rollout's name.
    Yields:
        Each mistake.
    """
    if not isinstance(use, str):
        return
    if use not in library():
        near = difflib.get_close_matches(use, library(), n=1)
        hint = f"Did you mean {near[0]}?" if near else ""
        yield ("use",), f"is {use}, expected one of {', '.join(library())}.", hint
        return
    template = library()[use]
    if isinstance(given, Mapping):
        yield from _check_values(template, given, ("with",))
    elif isinstance(given, Sequence) and not isinstance(given, str):
        for index, item in enumerate(given):
            if isinstance(item, Mapping):
                yield from _check_values(template, item, ("with", index))


def _check_values(template: Template, given: Mapping[str, Any], here: Location) -> Iterator[Finding]:
    known = template.parameters
    for name, value in given.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"{template.template} takes {', '.join(known)}."
            yield (*here, name), f"is not a parameter of {template.template}.", hint
            continue
        try:
            converted = known[name].convert(value)
            if isinstance(converted, Series):
                converted.example()
        except ValueError as error:
            yield (*here, name), f"is {shown(value)}, {error}.", _percent_hint(known[name], value)
    for name, parameter in known.items():
        if parameter.required and name not in given:
            yield (*here, name), "is missing, expected a value.", f"{parameter.about}"
    yield from _check_together(template, given, here)


def _check_together(template: Template, given: Mapping[str, Any], here: Location) -> Iterator[Finding]:
    if template.any_of and not any(name in given for name in template.any_of):
        yield here, f"has none of {', '.join(template.any_of)}, expected at least one.", "Add the limit."
    lacking = [name for name in template.together if name not in given]
    if lacking and len(lacking) < len(template.together):
        yield (
            here,
            f"has no {' and '.join(lacking)}, expected with the rest of {', '.join(template.together)}.",
            "",
        )
    ordered = [given[name] for name in template.order if isinstance(given.get(name), int | float)]
    if ordered != sorted(ordered):
        yield here, f"has {' and '.join(template.order)} the wrong way round.", "Rising order is meant."


def _percent_hint(parameter: Parameter, value: object) -> str:
    if parameter.type == "ratio" and isinstance(value, int | float) and 1 < value <= 100:
        return f"Write {value / 100:g} for {value:g} percentage points."
    if parameter.type == "metric":
        return "For an expression, record it by a rule of its own and name that."
    return ""
