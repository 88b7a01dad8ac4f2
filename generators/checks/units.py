"""Are limits in the unit of the metric that they are held to?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rollguard.generators.checks.context import CheckContext, Finding, LoadedRollout
from rollguard.generators.checks.metrics import known_series, uses
from rollguard.generators.known_metrics import SelectableSeries
from rollguard.generators.promql.reads import Limit
from rollguard.spec.series import Series
from rollguard.yamlfile import Location

NAME = "units"
_SPELLINGS = {
    "seconds": ("s", "sec", "second", "seconds"),
    "milliseconds": ("ms", "msec", "millisecond", "milliseconds"),
    "minutes": ("m", "min", "minute", "minutes"),
    "bytes": ("b", "byte", "bytes"),
    "percent": ("%", "percent"),
}
_UNIT_OF = {spelling: unit for unit, spellings in _SPELLINGS.items() for spelling in spellings}


def check(material: CheckContext) -> Iterator[Finding]:
    """Yield ratios given as percent, and units that are not the metric's."""
    for item in material.checked:
        known = known_series(item)
        if known is None:
            continue
        found = dict.fromkeys((limit, used.location) for used in uses(item) for limit in used.reading.limits)
        for limit, location in found:
            if _unit(limit.metric, known) == "ratio" and 1 < abs(limit.value) <= 100:
                yield _percent(item, limit, location)
        yield from _check_words(item, known)


def _percent(item: LoadedRollout, limit: Limit, location: Location) -> Finding:
    place = item.holding(location, limit.value)
    if place == location:
        place = item.holding(location, limit.metric)
    message = f"holds {limit.metric}, a ratio of 0\u20131, to {limit.value:g}: given as percent?"
    return Finding(
        NAME, "error", item.problem(place, message, f"Write {limit.value / 100:g} for {limit.value:g} %.")
    )


def _check_words(item: LoadedRollout, known: Mapping[str, SelectableSeries]) -> Iterator[Finding]:
    """Yield the `unit` of a guard that disagrees with its metric's."""
    for index, guard in enumerate(item.rollout.guards):
        several = len(guard.bindings) > 1 or not isinstance(guard.with_, dict)
        for number, values in enumerate(guard.bindings):
            given = _UNIT_OF.get(str(values.get("unit", "")).strip().lower())
            unit = _unit(_name(values.get("metric")), known)
            if given and unit and given != unit:
                here: Location = ("guards", index, "with", *((number,) if several else ()), "unit")
                message = f"is {values['unit']}, but {values['metric']} is in {unit}."
                yield Finding(NAME, "error", item.problem(here, message))


def _name(value: object) -> str:
    try:
        return Series.parse(str(value)).name
    except ValueError:
        return ""


def _unit(metric: str, known: Mapping[str, SelectableSeries]) -> str:
    return known[metric].metric.unit if metric in known else ""
