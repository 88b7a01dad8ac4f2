"""What a guard gives to its template, or as an expression of its own, checked before it is rendered."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from rollguard.spec import evidence_checks
from rollguard.spec.rollout import BY_EVIDENCE
from rollguard.spec.series import Series
from rollguard.spec.templates import SERIES_TYPES, Parameter, Template, library
from rollguard.yamlfile import Location, shown

Finding: TypeAlias = tuple[Location, str, str]
"""Where within the guard, what is wrong, how to mend it."""

_OWN = ("expr", "metrics", "window", "condition", "raw", "let", "tests")
_OWN_REQUIRED = ("condition", "tests")


def check(guard: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what is wrong with a guard's template and parameters, or with its own expression.

    Args:
        guard: as in the file.
    Yields:
        Each mistake.
    """
    alert, name = guard.get("alert"), guard.get("name")
    if isinstance(alert, str) and isinstance(name, str) and not name.startswith(f"{alert}-"):
        yield ("name",), f"is {name}, expected {alert}-… .", "It tells apart guards of one alert."
    if "clear_for" in guard and guard.get("action") != "hold":
        hint = "Take it out, or set action: hold."
        yield ("clear_for",), "belongs to a guard that holds: a rollback has no such end.", hint
    if "use" in guard and "expr" in guard:
        yield (
            ("expr",),
            "is given beside use, expected one of the two.",
            "A template brings its own expression.",
        )
    elif "expr" in guard:
        yield from _check_own(guard)
    elif "use" in guard:
        yield from _check_use(guard["use"], guard.get("with", {}))
        if guard["use"] in BY_EVIDENCE:
            yield from evidence_checks.check(guard)
        yield from _check_for(guard)
        for key in (key for key in _OWN if key in guard):
            yield (key,), "belongs to a guard with an expr of its own.", "Take it out."
    else:
        yield (
            ("use",),
            "is missing, expected a template.",
            f"One of {', '.join(library())}; or give expr and tests.",
        )


def _check_own(guard: Mapping[str, Any]) -> Iterator[Finding]:
    for key in _OWN_REQUIRED:
        if not guard.get(key):
            yield (key,), "is missing, expected beside expr.", "docs/add-a-guard.md shows one."
    if "with" in guard:
        yield (
            ("with",),
            "belongs to a template.",
            "Name the series in metrics, and write the numbers into expr.",
        )
    metrics = guard.get("metrics")
    metrics = metrics if isinstance(metrics, Mapping) else {}
    for name, text in metrics.items():
        yield from _check_value(Parameter(type="metric", about="-"), text, ("metrics", name))
    if "window" in guard:
        yield from _check_value(Parameter(type="duration", about="-"), guard["window"], ("window",))
    named: list[tuple[Location, object]] = [
        (("raw", index), name) for index, name in enumerate(_listed(guard.get("raw")))
    ]
    for place, test in enumerate(_listed(guard.get("tests"))):
        for index, series in enumerate(_listed(test.get("series") if isinstance(test, Mapping) else None)):
            if isinstance(series, Mapping):
                named.append((("tests", place, "series", index, "of"), series.get("of")))
    for here, name in named:
        if isinstance(name, str) and name not in metrics:
            known = ", ".join(metrics) or "none is named there"
            yield here, f"is {name}, expected one of metrics: {known}.", ""


def _listed(value: object) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _check_use(use: object, given: object) -> Iterator[Finding]:
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


def _check_for(guard: Mapping[str, Any]) -> Iterator[Finding]:
    template, given = library().get(str(guard["use"])), guard.get("with")
    for values in [given] if isinstance(given, Mapping) else _listed(given):
        for name, value in template.instant.items() if template and isinstance(values, Mapping) else ():
            if values.get(name) == value and guard.get("for"):
                hint = "Its window says how long it must last."
                yield ("for",), f"is not possible with {name}: {value}.", hint


def _check_values(template: Template, given: Mapping[str, Any], here: Location) -> Iterator[Finding]:
    known = {name: one for name, one in template.parameters.items() if not one.filled}
    for name, value in given.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"{template.template} takes {', '.join(known)}."
            yield (*here, name), f"is not a parameter of {template.template}.", hint
            continue
        yield from _check_value(known[name], value, (*here, name))
    for name, parameter in known.items():
        if parameter.required and name not in given:
            yield (*here, name), "is missing, expected a value.", f"{parameter.about}"
    yield from _check_together(template, given, here)


def _check_value(parameter: Parameter, value: object, here: Location) -> Iterator[Finding]:
    try:
        converted = parameter.convert(value)
        if isinstance(converted, Series) and parameter.type not in {"counter", "matchers"}:
            converted.example()  # which the tests show
    except ValueError as error:
        yield here, f"is {shown(value)}, {error}.", _percent_hint(parameter, value)


def _check_together(template: Template, given: Mapping[str, Any], here: Location) -> Iterator[Finding]:
    if template.any_of and not any(name in given for name in template.any_of):
        yield here, f"has none of {', '.join(template.any_of)}, expected at least one.", "Add the limit."
    found = [name for name in template.either if name in given]
    if template.either and len(found) != 1:
        yield (
            here,
            f"has {' and '.join(found) or 'none'} of {', '.join(template.either)}, expected exactly one.",
            "",
        )
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
    if parameter.type in SERIES_TYPES:
        return "For an expression, record it by a rule of its own and name that."
    return ""
