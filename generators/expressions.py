"""Expressions by Jinja: only what PromQL is meant to read gets through.

promtool accepts ``x < True`` and ``x < None``, which never fire; so a value of such a type is an error here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any

import jinja2

from generators.timing import Timing
from rollguard import durations
from rollguard.errors import RollguardError
from rollguard.guards import Series, Template
from rollguard.model import Value

_OVER = {"average": "avg", "maximum": "max", "minimum": "min"}
_TEST_STEP_RATIO = 0.005


class ExpressionError(RollguardError):
    """A template cannot be rendered with a guard's parameters."""


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
        Every parameter, ``interval`` (seconds) and ``lookback`` (PromQL).
    """
    names: dict[str, Any] = {
        "interval": timing.interval,
        "lookback": PromQL(durations.render(timing.lookback)),
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
        return _template(text).render(names).strip()
    except (jinja2.TemplateError, TypeError, ValueError) as error:
        raise ExpressionError(str(error)) from error


@lru_cache(maxsize=1024)
def _template(text: str) -> jinja2.Template:
    """Compiling takes longer than rendering, and thousands of guards share few texts."""
    return _environment().from_string(text)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(  # noqa: S701 - PromQL, not HTML; finalize escapes
        variable_start_string="<<",
        variable_end_string=">>",
        block_start_string="<%",
        block_end_string="%>",
        comment_start_string="<#",
        comment_end_string="#>",
        undefined=jinja2.StrictUndefined,
        finalize=finalize,
    )
    environment.filters |= {
        "now": _now,
        "over": _over,
        "increase": _increase,
        "duration": lambda seconds: PromQL(durations.render(seconds)),
        "points": lambda ratio: PromQL(f"{number(100 * ratio)} percentage points"),
        "words": lambda series: PromQL(Series(series.name, series.matchers[1:])),
        "under": lambda limit: limit - (abs(limit) or 1) * _TEST_STEP_RATIO,
        "over_limit": lambda limit: limit + (abs(limit) or 1) * _TEST_STEP_RATIO,
    }
    return environment


@jinja2.pass_context
def _now(names: jinja2.runtime.Context, series: Series) -> PromQL:
    """The newest sample, which a failed scrape does not take away."""
    return PromQL(f"last_over_time({series}[{names['lookback']}])")


@jinja2.pass_context
def _over(names: jinja2.runtime.Context, series: Series, aggregate: str, window: float) -> PromQL:
    if aggregate == "last":
        return _now(names, series)
    return PromQL(f"{_OVER[aggregate]}_over_time({series}[{durations.render(window)}])")


def _increase(series: Series, window: float) -> PromQL:
    return PromQL(f"increase({series}[{durations.render(window)}])")
