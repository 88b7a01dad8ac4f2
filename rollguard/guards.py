"""The guards of a rollout: as written, for each scope, and those that see another one's data go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from rollguard import durations
from rollguard.model import Value
from rollguard.series import Series
from rollguard.spec import Action, Guard, Rollout
from rollguard.templates import SERIES_TYPES, Template, template_of

NO_DATA = "NoData"
"""Ends the names of the guards that see another guard's data go."""

CRITICAL = "Critical"
"""Ends the name of an alert that is the critical severity of another; both share a runbook."""

_NO_DATA_INTERVALS = 4
_QUIET_SECONDS = 300.0
"""So long there must be no traffic at least before it counts as no data."""


class DerivedGuard(Guard):
    """A guard that follows from one in the file."""

    origin: str

    @property
    def written(self) -> str:
        """The name of the guard that it follows from."""
        return self.origin


class NoDataGuard(DerivedGuard):
    """The guard that sees the data of others go."""

    watched: tuple[str, ...]


_Items: TypeAlias = tuple[tuple[tuple[str, Value], ...], ...]
"""What the template `no-data` is given: for each condition, its parameters."""

_Watch: TypeAlias = tuple[str, Action, tuple[str, ...] | None, _Items]
"""Of what sort, what happens without data, in which stages, and what is watched."""

MISSING, NO_TRAFFIC, SEVERAL = "", "-no-traffic", "-several"
"""The sorts of missing data, as they end the names of guards: series missing, still counters, many series."""


def all_guards(rollout: Rollout) -> list[Guard]:
    """Return a rollout's guards, each followed by those that see its data go (``…NoData``).

    Args:
        rollout: a checked rollout.
    Returns:
        The guards as written, or for each scope; and those derived from their ``no_data``. Guards that read
        the same series in the same stages share one.
    """
    guards = [scoped for written in rollout.guards for scoped in _in_scopes(rollout, written)]
    alike: dict[_Watch, list[Guard]] = {}
    for guard in guards:
        for sort, items in _no_data_items(guard):
            action = guard.no_traffic or guard.no_data if sort == NO_TRAFFIC else guard.no_data
            if action != "ignore":
                alike.setdefault((sort, action, guard.stages, items), []).append(guard)
    found: list[Guard] = []
    for guard in guards:
        found.append(guard)
        found += [_no_data_guard(rollout, key, who) for key, who in alike.items() if who[0] is guard]
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
    return _window(guard) + guard.for_


def _window(guard: Guard) -> float:
    template = template_of(guard)
    if template.window is None:
        return 0.0
    return max(float(template.bind(values)[template.window] or 0) for values in guard.bindings)


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
                "called": f"{guard.name}-{stages[0]}",
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


def _no_data_guard(rollout: Rollout, watch: _Watch, watched: Sequence[Guard]) -> NoDataGuard:
    first, names = watched[0], tuple(guard.name for guard in watched)
    sort, action, stages, items = watch
    alert = f"{first.alert}{NO_DATA}"
    return NoDataGuard.model_construct(
        alert=alert,
        called=f"{alert}{first.name.removeprefix(first.alert)}{sort}",
        origin=first.written,
        watched=names,
        use="no-data",
        with_=tuple(dict(item) for item in items),
        # Just after its own start, Prometheus has no data of anything.
        for_=_NO_DATA_INTERVALS * rollout.scrape.interval,
        stages=stages,
        severity="warning",
        action=action,
        no_data="ignore",
        summary=f"No data for {', '.join(names)}.",
    )


def _no_data_items(guard: Guard) -> Iterator[tuple[str, _Items]]:
    """Yield what the template `no-data` is to watch, by sort."""
    template = template_of(guard)
    missing: dict[tuple[tuple[str, Value], ...], None] = {}
    still, several = dict(missing), dict(missing)
    for values in guard.bindings:
        raw = [name for name in template.raw if name in values][:1]
        raw += [name for given, name in template.raw_with.items() if given in values]
        for series in _narrowest([_counted(template, name, values) for name in raw]):
            missing[("metric", series),] = None
        if template.counter is not None and template.counter in values:
            quiet = template.quiet or template.window or ""
            window = max(_QUIET_SECONDS, float(template.bind(values)[quiet] or 0))
            counter = _counted(template, template.counter, values)
            still[("counter", counter), ("window", durations.render(window))] = None
        for name in template.single if "by" not in values else ():
            if name in values:
                several[("single", str(values[name])),] = None
    for sort, found in ((MISSING, missing), (NO_TRAFFIC, still), (SEVERAL, several)):
        if found:
            yield sort, tuple(found)


def _narrowest(found: Sequence[str]) -> Iterator[str]:
    """Yield the series without those that are there whenever another one is."""
    parsed = {text: Series.parse(text) for text in found}
    for text, series in parsed.items():
        wider = (
            series.name == other.name and set(series.matchers) < set(other.matchers)
            for other in parsed.values()
        )
        if not any(wider):
            yield text


def _counted(template: Template, name: str, values: Mapping[str, Value]) -> str:
    """Return a parameter's series; of a histogram, the count of its observations."""
    series = str(values[name])
    if template.parameters[name].type == "histogram":
        return str(Series.parse(series).suffixed("_count"))
    return series
