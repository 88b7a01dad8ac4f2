"""What a guard gives to its template, or as an expression of its own, checked before it is rendered."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from rollguard import durations
from rollguard.conventions import ENABLED
from rollguard.spec.rollout import BY_EVIDENCE, Rollback
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
            yield from _check_evidence(guard)
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


# Guards by evidence


def _check_evidence(guard: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what does not go together in a guard of the templates `compare` or `limit`."""
    given = guard.get("with", {})
    if not isinstance(given, Mapping):
        yield (
            ("with",),
            "is a list, expected one mapping.",
            "Write a guard for each: each has its own evidence.",
        )
        return
    yield from _check_compare(given) if guard["use"] == "compare" else _check_limit(given)


def check_stages(guard: Mapping[str, Any], stages: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Yield where a comparison is armed though one of its arms is empty, or too short for its horizon.

    Args:
        guard: as in the file, of the template `compare`.
        stages: as in the file.
    """
    named = guard.get("stages")
    armed = named if isinstance(named, list) else [*(stage.get("name") for stage in stages), ENABLED]
    both = {
        str(stage.get("name")): stage
        for stage in stages
        if isinstance(percent := stage.get("percent"), int | float) and 0 < percent < 100
    }
    lone = [str(name) for name in armed if str(name) not in both]
    if lone:
        yield (
            ("stages",),
            f"has {', '.join(lone)}, where there is nothing beside the new variant to compare with.",
            f"Name stages of more than 0 and less than 100 percent: {', '.join(both) or 'there is none'}. "
            "In the others, `limit` judges the new variant alone.",
        )
    given = guard.get("with")
    text = given.get("horizon") if isinstance(given, Mapping) else None
    horizon = _seconds(text)
    for name, stage in both.items():
        if name in map(str, armed) and 0 < _seconds(stage.get("hold")) <= horizon:
            message = f"is {text}, no shorter than the stage {name}, which would judge nothing."
            yield ("with", "horizon"), message, "Shorten it, or lengthen the stage's hold."


def check_budget(data: Mapping[str, Any], guards: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Yield that the guards that roll back by evidence may do so by chance too often, all together.

    Args:
        data: the file.
        guards: as in the file.
    """
    rollback = data.get("rollback")
    given = rollback.get("false_budget") if isinstance(rollback, Mapping) else None
    budget = given if isinstance(given, int | float) and 0 < given < 1 else Rollback().false_budget
    shares = {
        index: alpha
        for index, guard in enumerate(guards)
        if guard.get("action") == "rollback" and (alpha := _alpha(guard))
    }
    total = sum(shares.values())
    if total > budget * (1 + 1e-9):
        last = max(shares)
        yield (
            ("guards", last, "with", "alpha"),
            f"makes {total:.12g} with the other guards that roll back by evidence, expected at most "
            f"rollback.false_budget: {budget:.12g} together.",
            f"Write alpha: {budget / len(shares):.3g} into each of the {len(shares)}.",
        )


def _alpha(guard: Mapping[str, Any]) -> float:
    """Return the alpha of a guard by evidence; 0 of another one, or where it is none."""
    template = library().get(str(guard.get("use")))
    given = guard.get("with")
    if template is None or guard.get("use") not in BY_EVIDENCE or not isinstance(given, Mapping):
        return 0.0
    alpha = given.get("alpha", template.parameters["alpha"].default)
    return float(alpha) if isinstance(alpha, int | float) and 0 < alpha < 1 else 0.0


def check_proof(criterion: Mapping[str, Any], guards: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Yield where a criterion asks for the proof of what no guard compares.

    Args:
        criterion: as in the file.
        guards: as in the file.
    """
    wanted = criterion.get("not_worse")
    compared = [
        name
        for guard in guards
        if guard.get("use") == "compare" and isinstance(name := guard.get("name", guard.get("alert")), str)
    ]
    if isinstance(wanted, str) and wanted not in compared:
        known = f"one of {', '.join(compared)}" if compared else "a guard by `compare`, and there is none"
        yield ("not_worse",), f"is {wanted}, expected {known}.", "It needs the counters of both variants."


def _seconds(text: object) -> float:
    try:
        return durations.parse(text) if isinstance(text, str) else 0.0
    except ValueError:
        return 0.0  # said elsewhere


def _check_compare(given: Mapping[str, Any]) -> Iterator[Finding]:
    if "cluster" not in given and "times" not in given:
        yield (
            ("with",),
            "has none of cluster, times, expected one.",
            "Where users or accounts are split, their outcomes come in clusters: count each unit once and "
            "write cluster: unit, or give times: 1.1; cluster: none says that each outcome is drawn alone.",
        )
    if "times" in given and "bad" not in given:
        yield ("with", "times"), "is given without bad, which it is a factor of.", "Give bad and total."
    for key in ("worse", "each"):
        if key in given and "values" not in given:
            yield ("with", key), "is given without values.", "Take it out."
    if "," in str(given.get("each", "")):
        yield ("with", "each"), f"is {given['each']}, expected one label.", ""
    defaults = library()["compare"].parameters
    arms = [given.get(name, defaults[name].default) for name in ("canary", "baseline")]
    if arms[0] == arms[1]:
        yield ("with",), f"has the same arms: {arms[0]}, expected two.", "Give canary and baseline."


def _check_limit(given: Mapping[str, Any]) -> Iterator[Finding]:
    for role, limit in (("bad", "above"), ("good", "below")):
        if role in given and limit not in given:
            yield ("with", limit), "is missing, expected a share, 0-1.", f"It is the limit of {role}."
        elif limit in given and role not in given:
            yield ("with", limit), f"is given without {role}.", "above is of bad, below of good."
        elif given.get(limit) in (0, 1):
            yield (
                ("with", limit),
                f"is {given[limit]}, expected a share between 0 and 1.",
                ("Evidence cannot show a limit of none or all; a threshold can."),
            )
