"""The guards of a rollout: as written, for each scope, and those that see another one's data go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from rollguard import durations
from rollguard.conventions import PLATFORM
from rollguard.spec.calendars import Window
from rollguard.spec.fields import Value
from rollguard.spec.needed_series import BY, MIN_SAMPLE, SAMPLE, Read, counted, reads
from rollguard.spec.rollout import Action, Guard, Rollout
from rollguard.spec.series import Series
from rollguard.spec.templates import SERIES_TYPES, template_of

NO_DATA = "NoData"
"""Ends the names of the guards that see another guard's data go."""

CRITICAL = "Critical"
"""Ends the name of an alert that is the critical severity of another; both share a runbook."""

_NO_DATA_INTERVALS = 4
_CLEAR_INTERVALS = 4
_LONGEST_CLEAR_SECONDS = 3600.0
_QUIET_SECONDS = 300.0
"""So long there must be no traffic at least before it counts as no data."""


class DerivedGuard(Guard):
    """A guard that follows from one in the file."""

    origin: str

    @property
    def source_name(self) -> str:
        """The name of the guard that it follows from."""
        return self.origin


class NoDataGuard(DerivedGuard):
    """The guard that sees the data of others go: series missing, still counters, or many series."""

    watched: tuple[str, ...]
    kind: str


_Item: TypeAlias = tuple[tuple[str, Value], ...]
"""What the template `no-data` is given: the parameters of a condition."""

_Watch: TypeAlias = tuple[str, Action, tuple[str, ...] | None, Window | None, _Item]
"""Of what sort, what happens without data, in which stages, by which clock, and what is watched."""

MISSING, NO_TRAFFIC, SEVERAL = "", "-no-traffic", "-several"
"""The sorts of missing data, as they end the names of guards: series missing, still counters, many series."""


def all_guards(rollout: Rollout) -> list[Guard]:
    """Return a rollout's guards, each followed by those that see its data go (``…NoData``).

    Args:
        rollout: a checked rollout.
    Returns:
        The guards as written, or for each scope; and those derived from their ``no_data``. What several
        guards read in the same stages, by the same clock, is watched by that of the first.
    """
    guards = [scoped for written in rollout.guards for scoped in _in_scopes(rollout, written)]
    readers: dict[_Watch, list[Guard]] = {}
    for guard in guards:
        for kind, items in _no_data_items(guard):
            action = guard.no_traffic or guard.no_data if kind == NO_TRAFFIC else guard.no_data
            if action != "ignore":
                for item in items:
                    readers.setdefault((kind, action, guard.stages, guard.clock, item), []).append(guard)
    found: list[Guard] = []
    for guard in guards:
        found.append(guard)
        found += _no_data_guards(rollout, [(key, who) for key, who in readers.items() if who[0] is guard])
    return found


def runbook(rollout: Rollout, guard: Guard) -> str:
    """Return the name of a guard's page for the person who is woken.

    All guards on missing data share one, and so do the two severities of an alert.
    """
    if isinstance(guard, NoDataGuard):
        return NO_DATA
    mild = guard.alert.removesuffix(CRITICAL)
    return mild if any(other.alert == mild for other in rollout.guards) else guard.alert


def longest_look_back(rollout: Rollout) -> float:
    """Return the longest window plus ``for`` of the guards that roll back: how long a breach may echo.

    Returns:
        Seconds; 0 where no guard rolls back.
    """
    acting = (guard for guard in rollout.guards if guard.action == "rollback")
    return max(map(look_back, acting), default=0.0)


def look_back(guard: Guard) -> float:
    """Return a guard's window plus its ``for``: how long a breach of it may echo, seconds."""
    return window(guard) + guard.for_


def clear_for(rollout: Rollout, guard: Guard) -> float:
    """Return for how long a guard must be false, with data, before a hold of it ends, seconds.

    Without a `clear_for` of its own for as long as a breach may echo in its data, within bounds: a scrape or
    two that look well end nothing, and a guard on a week's data holds no week longer.
    """
    if guard.clear_for is not None:
        return guard.clear_for
    return min(max(look_back(guard), _CLEAR_INTERVALS * rollout.scrape.interval), _LONGEST_CLEAR_SECONDS)


def window(guard: Guard) -> float:
    """Return how far back a guard looks, seconds; of several conditions the farthest."""
    template = template_of(guard) if guard.use != PLATFORM else None
    if template is None or template.window is None:
        return 0.0
    return max(float(template.bind(values)[template.window] or 0) for values in guard.bindings)


def alpha(guard: Guard) -> float:
    """Return the chance that a healthy run ever fires a guard by evidence, 0-1."""
    return float(template_of(guard).bind(guard.bindings[0])["alpha"])


def _in_scopes(rollout: Rollout, guard: Guard) -> Iterator[Guard]:
    """Yield a guard for each different `match` of its stages, with the matchers that it stands for."""
    if guard.scope is None:
        yield guard
        return
    matches = {stage.name: stage.match or {} for stage in rollout.stages}
    last = rollout.stages[-1].match or {}
    groups: dict[object, list[str]] = {}
    for stage in rollout.armed_stages(guard):
        match = matches.get(stage, last)
        groups.setdefault(tuple(sorted(match.items())), []).append(stage)
    for stages in groups.values():
        match = matches.get(stages[0], last)
        given = tuple(_narrowed(guard, values, match) for values in guard.bindings)
        yield DerivedGuard.model_construct(
            **{
                **dict(guard),
                "alias": f"{guard.name}-{stages[0]}",
                "origin": guard.name,
                "stages": tuple(stages),
                "metrics": {name: _narrow(text, match) for name, text in guard.metrics.items()},
                "with_": given if guard.use else {},
            }
        )


def _narrowed(
    guard: Guard, values: Mapping[str, Value], match: Mapping[str, Sequence[str]]
) -> dict[str, Value]:
    parameters = template_of(guard).parameters
    return {
        name: _narrow(str(value), match) if parameters[name].type in SERIES_TYPES else value
        for name, value in values.items()
    }


def _narrow(text: str, match: Mapping[str, Sequence[str]]) -> str:
    return str(Series.parse(text).narrowed(match))


def _no_data_guards(
    rollout: Rollout, watches: Sequence[tuple[_Watch, Sequence[Guard]]]
) -> Iterator[NoDataGuard]:
    """Yield the guards, one for each sort, of what a guard is the first to read."""
    for kind in dict.fromkeys(watch[0] for watch, _ in watches):
        alike = [(watch, who) for watch, who in watches if watch[0] == kind]
        (_, action, stages, clock, _), (first, *_) = alike[0]
        names = tuple(dict.fromkeys(guard.name for _, who in alike for guard in who))
        alert = f"{first.alert}{NO_DATA}"
        yield NoDataGuard.model_construct(
            alert=alert,
            alias=f"{alert}{first.name.removeprefix(first.alert)}{kind}",
            origin=first.source_name,
            watched=names,
            kind=kind,
            use="no-data",
            with_=tuple(dict(watch[-1]) for watch, _ in alike),
            # Just after its own start, Prometheus has no data of anything.
            for_=_NO_DATA_INTERVALS * rollout.scrape.interval,
            stages=stages,
            clock=clock,
            severity="warning",
            action=action,
            no_data="ignore",
            summary=f"No data for {', '.join(names)}.",
        )


def _no_data_items(guard: Guard) -> Iterator[tuple[str, list[_Item]]]:
    """Yield what the template `no-data` is to watch, by sort."""
    template = template_of(guard)
    missing: dict[tuple[tuple[str, Value], ...], None] = {}
    still, several = dict(missing), dict(missing)
    for values, found in reads(guard):
        missing |= dict.fromkeys(tuple(item.items()) for item in _missing(values, found))
        if template.counter is not None and template.counter in values:
            quiet = template.quiet or template.window or ""
            seconds = max(_QUIET_SECONDS, float(template.bind(values)[quiet] or 0))
            counter = counted(template, template.counter, values)
            still[("counter", counter), ("window", durations.render(seconds))] = None
        for name in template.single if BY not in values else ():
            if name in values:
                several[("single", str(values[name])),] = None
    for kind, items in ((MISSING, missing), (NO_TRAFFIC, still), (SEVERAL, several)):
        if items:
            yield kind, list(items)


def _missing(values: Mapping[str, Value], found: Sequence[Read]) -> Iterator[dict[str, Value]]:
    """Yield the parameters of `no-data` for each series that one condition of a guard reads."""
    by = {BY: values[BY]} if BY in values else {}
    enough = {name: values[name] for name in (SAMPLE, MIN_SAMPLE) if name in values and SAMPLE in values}
    there = [read.series for read in found if read.presence == "always"]
    for read in found:
        if read.presence in {"optional", "scarce"} or _is_wider(read.series, there):
            if not any(_is_wider(other, [read.series]) for other in there):
                yield {"number": read.series, **_averaged(values, read)}
            continue
        item: dict[str, Value] = {"metric": read.series, **_averaged(values, read)}
        match read.presence:
            case "always":
                yield {**item, **by}
                if by and read.parameter == SAMPLE:
                    yield from (
                        {**item, **by, "beside": other.series}
                        for other in found
                        if other.presence == "sampled"
                    )
            case "beside":
                yield {**item, **by, **enough, "beside": read.beside}
            case "sampled":
                yield {**item, **by, **enough}


def _averaged(values: Mapping[str, Value], read: Read) -> dict[str, Value]:
    return {"aggregate": values.get("aggregate", "average"), "span": read.averaged} if read.averaged else {}


def _is_wider(series: str, others: Sequence[str]) -> bool:
    """Return whether a series is there whenever one of the others is, as that one is a part of it."""
    mine = Series.parse(series)
    parsed = map(Series.parse, others)
    return any(mine.name == other.name and set(mine.matchers) < set(other.matchers) for other in parsed)
