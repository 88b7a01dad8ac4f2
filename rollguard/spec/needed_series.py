"""The series that a guard reads: which of them must be there, and when."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from rollguard.conventions import STAGE_ENTERED_METRIC
from rollguard.spec.fields import Value
from rollguard.spec.rollout import Guard
from rollguard.spec.series import Series
from rollguard.spec.templates import SERIES_TYPES, Template, template_of

Presence: TypeAlias = Literal["always", "beside", "sampled", "scarce", "optional"]
"""When a series must be there: always; where another one is; where the minimal sample is reached; where there
is enough of it, as `raw` is there however little there is; or never, as its absence means zero."""

SAMPLE, MIN_SAMPLE, RAW, BY = "sample", "min_sample", "raw", "by"
"""Parameters that mean the same in every template."""


@dataclass(frozen=True)
class Read:
    """A series that one condition of a guard reads.

    Args:
        parameter: of the guard's template.
        series: as text; of a histogram, the count of its observations.
        presence: when it must be there.
        beside: the series where which it must be there, or of a scarce one that which is always there.
        averaged: over how long the guard averages it, as text; empty where it does not.
    """

    parameter: str
    series: str
    presence: Presence
    beside: str = ""
    averaged: str = ""


def reads(guard: Guard) -> list[tuple[Mapping[str, Value], list[Read]]]:
    """Return what each condition of a guard reads, with the condition's parameters."""
    template = template_of(guard)
    found = [(values, list(_reads(template, values))) for values in guard.bindings]
    if guard.use is not None:
        return found
    # Nobody knows what an expression of one's own makes of a series that is not there: it waits.
    return [
        (
            values,
            [
                _scarce(read, values[guard.raw[0]]) if guard.raw and read.presence == "optional" else read
                for read in every
            ],
        )
        for values, every in found
    ]


def _scarce(read: Read, raw: Value) -> Read:
    return replace(read, presence="scarce", beside=str(raw))


def counted(template: Template, name: str, values: Mapping[str, Value]) -> str:
    """Return a parameter's series; of a histogram, the count of its observations."""
    series = str(values[name])
    if template.parameters[name].type == "histogram":
        return str(Series.parse(series).suffixed("_count"))
    return series


def _reads(template: Template, values: Mapping[str, Value]) -> Iterator[Read]:
    if template.judges_absence:
        return
    for name, parameter in template.parameters.items():
        if parameter.type not in SERIES_TYPES or parameter.type == "counter" or name not in values:
            continue
        series = counted(template, name, values)
        presence = _presence(template, name, values)
        other = RAW if presence == "scarce" else template.beside.get(name, "") if presence == "beside" else ""
        other = counted(template, other, values) if other else ""
        yield Read(name, series, presence, other, str(values.get(template.averaged.get(name, ""), "")))
        if parameter.type == "histogram":
            buckets = str(Series.parse(str(values[name])).suffixed("_bucket"))
            yield Read(name, buckets, "beside", series)


def _presence(template: Template, name: str, values: Mapping[str, Value]) -> Presence:
    also = {other for given, other in template.raw_with.items() if given in values}
    few = {one for one in (SAMPLE, RAW) if one in values and template.parameters[one].optional}
    # Before the first start no stage was entered; that the control plane is there is watched by itself.
    begun = Series.parse(str(values[name])).name != STAGE_ENTERED_METRIC
    if name not in {*template.raw, *also, *few} and (template.raw or not begun):
        return "optional"
    if name in template.beside:
        return "beside"
    if name in few or not few:
        return "always"
    return "sampled" if SAMPLE in few else "scarce"
