"""Guards by their formulas, for many rollouts at once: whether each holds, and whether it can be judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from rollguard.exporters.measures.betting import Array
from rollguard.simulation.laws import Moment
from rollguard.simulation.likelihoods import greater_share, more_events
from rollguard.simulation.reads import NoLawError, Read, Traffic
from rollguard.simulation.windows import Over, Rows, Truth
from rollguard.spec.rollout import Guard
from rollguard.spec.templates import template_of


class Formula(Protocol):
    """One condition of a guard."""

    def look(self, moment: Moment) -> tuple[Truth, Truth]:
        """Return whether it holds at each sample, (samples, rows), and whether it can be judged, (rows,)."""

    def keep(self, rows: Rows) -> None:
        """Forget the other rollouts."""

    def likelihood(self, share: float) -> float | None:
        """Return how likely it begins to hold at one look while all is well, at most; None: nobody knows.

        Args:
            share: of the new variant, 0-1.
        """


class _Share:
    """A part of events in all events of a window, against limits."""

    def __init__(
        self, traffic: Traffic, part: Read, every: Read, *, window: float, least: float,
        below: float | None = None, above: float | None = None,
    ) -> None:  # fmt: skip
        self._part, self._parts = traffic.increase(part, window)
        self._every, self._all = traffic.increase(every, window)
        self._least, self._below, self._above, self._window = least, below, above, window

    def look(self, moment: Moment) -> tuple[Truth, Truth]:
        part, every = self._parts.add(self._part.gained()), self._all.add(self._every.gained())
        share = part / np.where(every > 0, every, np.nan)
        enough = every >= self._least
        holds = np.zeros(share.shape, dtype=np.bool_)
        if self._above is not None:
            holds |= share > self._above
        if self._below is not None:
            holds |= share < self._below
        return holds & enough, enough[-1] & (every[-1] > 0)

    def keep(self, rows: Rows) -> None:
        self._parts.keep(rows)
        self._all.keep(rows)

    def likelihood(self, share: float) -> float | None:
        bad, good = self._every.means(share, self._window)
        if self._part.arms != self._every.arms or not self._every.stream.is_independent:
            return None
        part, rest = (bad, good) if self._part.outcome == "bad" else (good, bad)
        above = 0.0 if self._above is None else greater_share(part, rest, self._above, self._least)
        below = 0.0 if self._below is None else greater_share(rest, part, 1 - self._below, self._least)
        return above + below


class _Rise:
    """A counter's increase above a limit."""

    def __init__(self, traffic: Traffic, read: Read, window: float, limit: float) -> None:
        self._limit, self._window = limit, window
        self._read, self._increase = traffic.increase(read, window)

    def look(self, moment: Moment) -> tuple[Truth, Truth]:
        found = self._increase.add(self._read.gained())
        return found > self._limit, np.ones(found.shape[1], dtype=np.bool_)

    def keep(self, rows: Rows) -> None:
        self._increase.keep(rows)

    def likelihood(self, share: float) -> float | None:
        if not self._read.stream.is_independent:
            return None
        limit = self._limit - 1e-9 if self._limit > 0 else 0.0  # what reaches a limit is a little above it
        bad, good = self._read.means(share, self._window)
        return more_events(bad if self._read.outcome == "bad" else bad + good, limit)


class _Level:
    """A gauge against limits, or against another gauge."""

    def __init__(
        self, traffic: Traffic, given: Mapping[str, Any], limits: Sequence[tuple[str, float]]
    ) -> None:
        self._limits, self._least = limits, given["min_sample"]
        self._gauge = traffic.gauge(given["metric"])
        self._baseline = None if given["baseline"] is None else traffic.gauge(given["baseline"])
        self._sample = None if given["sample"] is None else traffic.gauge(given["sample"])
        self._delta = given.get("delta_ratio")
        aggregate, window = given.get("aggregate", "average"), given["window"] or 0.0
        aggregate = aggregate if window else "last"
        self._aggregate = aggregate
        every = [one for one in (self._gauge, self._baseline) if one is not None]
        fine = traffic.is_fine(window) and all(one.fine for one in every)
        self._coarse = window > 0 and not fine
        step = traffic.seconds_of(not self._coarse)
        self._over = Over(traffic.rows, aggregate, window, step)
        # Limits are multiples of the newest baseline; what trails is averaged as its baseline is.
        averaged = aggregate if self._delta is not None else "last"
        self._base_over = Over(traffic.rows, averaged, window, step)

    def look(self, moment: Moment) -> tuple[Truth, Truth]:
        value = self._over.add(self._samples(self._gauge.values))
        base: Array | float = 1.0
        if self._baseline is not None:
            base = self._base_over.add(self._samples(self._baseline.values))
        judged = ~np.isnan(value + base)
        if self._sample is not None:
            judged &= self._samples(self._sample.values) >= self._least
        holds = np.zeros(value.shape, dtype=np.bool_)
        for sign, limit in self._limits:
            edge = limit * base if self._delta is None else base + limit
            holds |= _COMPARE[sign](value, edge)
        return holds & judged, judged[-1]

    def keep(self, rows: Rows) -> None:
        self._over.keep(rows)
        self._base_over.keep(rows)

    def likelihood(self, share: float) -> float | None:
        """An average is nearer to the mean than a value; of a maximum, only a new value matters."""
        base = self._baseline.law if self._baseline is not None else None
        if base is not None and (base.mean is None or base.deviation or base.swing):
            return None
        usual = 1.0 if base is None else float(base.mean or 0.0)
        found = 0.0
        for sign, limit in self._limits:
            edge = limit * usual if self._delta is None else usual + limit
            chance = self._gauge.likelihood(edge, sign in ("above", "at_least"), share)
            if (
                chance is None
                or self._aggregate == "deviation"
                or (chance > 0.5 and self._aggregate != "last")
            ):
                return None
            found += chance
        return found

    def _samples(self, values: Array) -> Array:
        return values[-1:] if self._coarse else values


_COMPARE: Mapping[str, Any] = {
    "below": np.less, "at_most": np.less_equal, "above": np.greater, "at_least": np.greater_equal,
}  # fmt: skip


def formulas(guard: Guard, traffic: Traffic) -> tuple[list[Formula], list[str]]:
    """Return a guard's conditions, and why others of it are not simulated."""
    found: list[Formula] = []
    missing: list[str] = []
    make = _MAKE.get(guard.use or "")
    if make is None:
        return [], [
            f"no formula for {'the template ' + guard.use if guard.use else 'an expression of its own'}"
        ]
    for values in guard.bindings:
        try:
            found.append(make(template_of(guard).bind(values), traffic))
        except NoLawError as error:
            missing.append(str(error))
    return found, missing


def _ratio(given: Mapping[str, Any], traffic: Traffic) -> Formula:
    only_below = given["above"] is None
    part, every = traffic.pair(given["numerator"], given["denominator"], bad=not only_below)
    return _Share(
        traffic, part, every, window=given["window"], least=given["min_denominator"],
        below=given["below"], above=given["above"],
    )  # fmt: skip


def _quantile(given: Mapping[str, Any], traffic: Traffic) -> Formula:
    """Where a bucket ends at the limit, the quantile is above it once too few observations are below."""
    limits = [] if given["above"] is None else [float(given["above"])]
    if given["times"] is not None:
        limits.append(given["times"] * traffic.mean(given["baseline"]))
    stream = traffic.stream(given["metric"], (min(limits),))
    if stream.law.median is None:
        raise NoLawError(f"no median in the law for {given['metric'].name}")
    every = Read(stream, traffic.arms(given["metric"]))
    return _Share(
        traffic, replace(every, outcome="bad"), every, window=given["window"], least=given["min_count"],
        above=1 - given["quantile"],
    )  # fmt: skip


def _increases(given: Mapping[str, Any], traffic: Traffic) -> Formula:
    times = 1.0 if given["baseline"] is None else traffic.mean(given["baseline"])
    return _Rise(traffic, traffic.counter(given["metric"]), given["window"], given["by_more_than"] * times)


def _threshold(given: Mapping[str, Any], traffic: Traffic) -> Formula:
    return _Level(traffic, given, [(key, given[key]) for key in _COMPARE if given[key] is not None])


def _trails(given: Mapping[str, Any], traffic: Traffic) -> Formula:
    lower = given["worse"] == "lower"
    delta = given["delta_ratio"]
    return _Level(traffic, given, [("below", -delta) if lower else ("above", delta)])


_MAKE: Mapping[str, Any] = {
    "ratio": _ratio,
    "quantile": _quantile,
    "increases": _increases,
    "threshold": _threshold,
    "trails-baseline": _trails,
}
