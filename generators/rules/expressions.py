"""Expressions by Jinja: only what PromQL is meant to read gets through.

promtool accepts ``x < True`` and ``x < None``, which never fire; so a value of such a type is an error here.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, lru_cache
from typing import Any, NoReturn

import jinja2

from rollguard import durations
from rollguard.conventions import ROLLOUT_LABEL
from rollguard.errors import RollguardError
from rollguard.generators.rules.timing import Timing
from rollguard.spec.fields import Value
from rollguard.spec.jinja_texts import JinjaError, Sandbox, condition_tree, text_tree
from rollguard.spec.series import Series
from rollguard.spec.templates import Template

_OVER = {"average": "avg", "maximum": "max", "minimum": "min", "deviation": "stddev"}
_TEST_STEP_RATIO = 0.005
_UNDEFINED = re.compile(r"'(\w+)' is undefined")
_NO_FILTER = re.compile(r"No filter named '(\w+)'")
_REFUSED = (
    *(jinja2.TemplateError, JinjaError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError),
    *(MemoryError, RecursionError),
)
"""What Jinja, or a filter that is given what it does not take, may raise."""

_LONGEST = 65_536
"""Characters that a text may render to."""


class ExpressionError(RollguardError):
    """A template cannot be rendered with a guard's parameters; the hint says how to mend it, or nothing."""

    def __init__(self, message: str, hint: str = "") -> None:
        self.hint = hint
        super().__init__(message)


class PromQL(str):
    """Text that is an expression already; it is not escaped again."""

    __slots__ = ()


def finalize(value: object) -> str:
    """Return a value as PromQL reads it.

    Args:
        value: an expression, a series, a number, or text to stand within quotes.
    Raises:
        ExpressionError: a boolean, None, a number that is not finite, or another type.
    """
    match value:
        case PromQL() | Series() | jinja2.Undefined():
            return str(value)  # which raises for what is undefined, and names it
        case bool() | None:
            raise ExpressionError(
                f"{value} does not belong into an expression: promtool would accept it in silence"
            )
        case int():
            return str(value)
        case float():
            return number(value)
        case str():
            return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
        case _:
            raise ExpressionError(f"a {type(value).__name__} does not belong into an expression")


def number(value: float) -> str:
    """Return a finite number in the shortest form that keeps twelve digits."""
    if not math.isfinite(value):
        raise ExpressionError(f"{value} does not belong into an expression: expected a finite number")
    return f"{value:.12g}"


def context(template: Template, values: Mapping[str, Value], rollout: str, timing: Timing) -> dict[str, Any]:
    """Return what a guard's templates may name.

    Args:
        template: of the guard library.
        values: the parameters that the guard gives.
        rollout: the rollout's name; series are selected within it.
        timing: interval and scale; durations are scaled.
    Returns:
        Every parameter, ``interval`` (seconds), ``lookback`` (PromQL) and ``scaled("5m")`` (seconds).
    """
    names: dict[str, Any] = {
        "interval": timing.interval,
        "lookback": PromQL(durations.render(timing.lookback)),
        "scaled": lambda text: timing.seconds(durations.parse(text)),
    }
    for name, value in template.bind(values).items():
        if isinstance(value, Series):
            names[name] = value.within(rollout)
        elif template.parameters[name].type == "duration" and value is not None:
            names[name] = timing.seconds(value)
        else:
            names[name] = value
    return names


def render(text: str, names: Mapping[str, Any]) -> str:
    """Return a text of the guard library with one guard's parameters.

    Args:
        text: Jinja with ``<< >>``, ``<% %>`` and ``<# #>``.
        names: what it may name, as `context` returns it.
    Raises:
        ExpressionError: it names something unknown, or a value that may not stand there.
    """
    try:
        template = _template(text)  # which refuses a text that is too long, a constant one too
        return _rendered(template, names).strip() if "<" in text else text.strip()
    except _REFUSED as error:
        raise _error(error, names) from error


def _rendered(template: jinja2.Template, names: Mapping[str, Any]) -> str:
    found, length = [], 0
    for part in template.generate(names):
        found.append(part)
        length += len(part)
        if length > _LONGEST:
            raise ExpressionError(f"it gives more than {_LONGEST // 1024} kB of text")
    return "".join(found)


def _error(error: Exception, names: Mapping[str, Any]) -> ExpressionError:
    """Return what Jinja says without its full stop, with what is known where it knows no such name."""
    message = str(error).removesuffix(".") or type(error).__name__
    message = f"expected {message}" if isinstance(error, JinjaError) else message
    known: list[str] = []
    if match := _UNDEFINED.fullmatch(message):
        known = list(names)
    elif match := _NO_FILTER.fullmatch(message):
        known = sorted(_environment().filters)
    elif isinstance(error, KeyError):
        message = f"{message} is not known"
    near = difflib.get_close_matches(match[1], known, n=1) if match else []
    hint = f"Did you mean {near[0]}?" if near else f"Known here: {', '.join(known)}." if known else ""
    return ExpressionError(message, hint)


@lru_cache(maxsize=1024)
def _template(text: str) -> jinja2.Template:
    """Compiling takes longer than rendering, and thousands of guards share few texts."""
    return _environment().from_string(text_tree(text, _environment(), library=True))


@lru_cache(maxsize=1024)
def _condition(text: str) -> jinja2.Template:
    return _environment().from_string(condition_tree(text, _environment(), library=True))


@cache
def _environment() -> Sandbox:
    environment = Sandbox(finalize)
    environment.globals["refuse"] = _refuse
    environment.filters |= {
        "now": _now,
        "over": _over,
        "one_of": _one_of,
        "increase": _increase,
        "increase_before": lambda series, window: PromQL(
            f"increase({series}[{durations.render(window)}] offset {durations.render(window)})"
        ),
        "rate": lambda series, window: _ranged("rate", series, window),
        "changes": lambda series, window: _ranged("changes", series, window),
        "suffixed": lambda series, suffix: series.suffixed(suffix),
        "promql": _promql,
        "labels": lambda labels: PromQL(", ".join((ROLLOUT_LABEL, *(labels or ())))),
        "beside": _beside,
        "evidence_needed": lambda alpha: -math.log(alpha),
        "one_in": lambda alpha: PromQL(f"1 of {number(round(1 / alpha))}"),
        "percent": lambda ratio: PromQL(f"{number(100 * ratio)} %"),
        "power_of_two": lambda count: 2 ** math.ceil(math.log2(count)),
        "duration": lambda seconds: PromQL(durations.render(seconds)),
        "points": lambda ratio: PromQL(f"{number(100 * ratio)} percentage points"),
        "words": lambda series: PromQL(replace(series, matchers=series.own_matchers)),
        "under": lambda limit: limit - (abs(limit) or 1) * _TEST_STEP_RATIO,
        "over_limit": lambda limit: limit + (abs(limit) or 1) * _TEST_STEP_RATIO,
    }
    return environment


def _refuse(words: str, *values: float) -> NoReturn:
    """What a template says of parameters that do not go together; each ``{}`` is a value."""
    for value in values:
        words = words.replace("{}", number(value), 1)
    raise ExpressionError(words)


def _promql(text: Series | str) -> PromQL:
    if not isinstance(text, Series | str):
        raise TypeError(f"{type(text).__name__} is no PromQL")
    return PromQL(text)


@jinja2.pass_context
def _now(names: jinja2.runtime.Context, series: Series) -> PromQL:
    """The newest sample, which a failed scrape does not take away."""
    return PromQL(f"last_over_time({series}[{names['lookback']}])")


@jinja2.pass_context
def _over(names: jinja2.runtime.Context, series: Series, aggregate: str, window: float) -> PromQL:
    if aggregate == "last":
        return _now(names, series)
    return PromQL(f"{_OVER[aggregate]}_over_time({series}[{durations.render(window)}])")


def _beside(limit: float, step: float, nested: float) -> float:
    """A share just beside a limit; of nested counters, its numerator where the rest stays as at the limit."""
    if not nested:
        return limit * (1 + step)
    share = limit * (1 + step * (1 - limit))
    return (1 - limit) * share / (1 - share)


@jinja2.pass_context
def _one_of(  # noqa: PLR0917 - a filter's arguments come by place
    names: jinja2.runtime.Context,
    series: Series,
    which: str,
    by: Sequence[str] | None = None,
    aggregate: str = "last",
    window: float = 0,
) -> PromQL:
    """The least or the greatest of what should be one series, so that several are no error."""
    labels = ", ".join((ROLLOUT_LABEL, *(by or ())))
    return PromQL(f"{which} by ({labels}) ({_over(names, series, aggregate, window)})")


def _increase(series: Series, window: float) -> PromQL:
    return _ranged("increase", series, window)


def _ranged(function: str, series: Series, window: float) -> PromQL:
    return PromQL(f"{function}({series}[{durations.render(window)}])")


def holds(text: str, names: Mapping[str, Any]) -> bool:
    """Return whether a Jinja expression is true.

    Raises:
        ExpressionError: it is none, or names something unknown.
    """
    try:
        return _rendered(_condition(text), names) == "true"
    except _REFUSED as error:
        raise _error(error, names) from error
