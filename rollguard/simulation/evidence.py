"""Guards by evidence, for many rollouts at once: the evaluator's bets on counts that are drawn."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import TypeVar

import numpy as np

from rollguard.exporters.evidence.judged import Judged
from rollguard.exporters.measures import betting, dispersion
from rollguard.exporters.measures.betting import Array, Evidence, Increments
from rollguard.exporters.measures.dispersion import Spread
from rollguard.exporters.measures.effects import difference
from rollguard.simulation.laws import Moment, Stream
from rollguard.simulation.reads import BOTH, Arms, NoLawError, Traffic
from rollguard.simulation.windows import Rows, Truth
from rollguard.spec.series import Series

State = TypeVar("State", Evidence, Spread)

_SCALARS = ("age_seconds", "tilts_seconds")


class Bet:
    """The evidence of one guard.

    Args:
        judged: the guard.
        alpha: at whose logarithm it fires.
        traffic: what is drawn.
        labelled: the counters that say at which percent an outcome was assigned.
        shares: of the stages in which both variants serve, 0-1.
    Raises:
        NoLawError: its counters have no law.
    """

    def __init__(
        self,
        judged: Judged,
        alpha: float,
        traffic: Traffic,
        labelled: frozenset[str],
        shares: tuple[float, ...],
    ) -> None:
        self.judged = judged
        self._needed = -math.log(alpha)
        self._stream, self._arms = _stream(judged, traffic)
        self._stream.beside = self._stream.beside and judged.arms is not None
        self._bet = judged.bet(self._categories)
        self._known = next(iter(judged.counters.values())).name in labelled
        self._shares = shares or (0.5,)
        self._evidence = betting.begin(self._bet, (traffic.rows,))
        self._totals = np.zeros((traffic.rows, len(self._shares), 2, self._bet.categories))
        self._peak = np.zeros(traffic.rows)
        arms = judged.arms is not None and not judged.each
        self._spread = dispersion.begin(self._bet.categories, (traffic.rows,)) if arms else None
        self._entered = np.zeros(traffic.rows)
        self._seconds = 0.0
        self._memo: dict[str, Array] = {}

    def look(self, moment: Moment) -> tuple[Truth, Truth]:
        """Return whether it fires, (1, rows), and whether it can be judged, which it always can."""
        self._entered[moment.entered] = moment.at - moment.seconds
        counts = self._counts(moment)
        self._seconds += moment.seconds
        begun = self._evidence.age_seconds > 0
        if counts.any():
            self._take(counts, moment, self._seconds if begun else moment.seconds)
            self._seconds = 0.0
        return (self.log_e >= self._needed)[None], np.ones(self.log_e.shape, dtype=np.bool_)

    def begin_again(self, rows: Truth) -> None:
        """Forget the evidence of holds that ended, and keep what was learned of the old variant."""
        if self.judged.sticky or not rows.any():
            return
        fresh = betting.begin(self._bet, (len(rows),), learned=self._evidence.learned)
        self._evidence = _merged(self._evidence, fresh, rows)

    @property
    def log_e(self) -> Array:
        """The evidence that counts, nats, shape (rows,)."""
        return self._peak if self.judged.sticky else self._now()

    def _now(self) -> Array:
        log_e = self._evidence.log_e
        return log_e if self._spread is None else dispersion.cautious(log_e, self._spread)

    def upper(self, rows: Rows) -> Array:
        """Return the upper bound of how much worse the new variant's mean is, of some rollouts by number."""
        values = np.asarray(self.judged.values(self._categories))
        sign = -1.0 if self.judged.higher_is_better else 1.0
        totals = self._totals[rows]
        return np.asarray(difference(totals[:, :, 1], totals[:, :, 0], sign * values)[2])

    def likelihood(self, share: float) -> float | None:
        """Return None: its alpha is what counts, over a whole run."""
        return None

    def keep(self, rows: Rows) -> None:
        """Forget the other rollouts."""
        self._evidence, self._peak = _kept(self._evidence, rows), self._peak[rows]
        if self._spread is not None:
            self._spread = _kept(self._spread, rows)
        self._totals, self._entered = self._totals[rows], self._entered[rows]

    @property
    def _categories(self) -> list[float]:
        return [0.0, 1.0] if self.judged.kind == "rate" else [*self._stream.edges, math.inf]

    def _counts(self, moment: Moment) -> Array:
        """Return the outcomes that count: rows, arms (old, new), outcomes."""
        counts = self._stream.counts.sum(axis=0)
        counts = np.moveaxis(counts, -1, 0)
        if self.judged.arms is None:
            return np.asarray(counts)
        beside = (moment.share > 0) & (moment.share < 1)
        ripe = moment.at - self._entered > self.judged.horizon
        return np.where((beside & ripe)[:, None, None], counts, 0.0)

    def _take(self, counts: Array, moment: Moment, seconds: float) -> None:
        old, new = counts[:, None, 0], counts[:, None, 1]
        if self.judged.arms is None:
            everything = (old, new)
            alone = np.add.reduce([everything[arm] for arm in self._arms])
            seen = Increments(alone, np.zeros_like(old), np.zeros(1))
        elif self._known:
            seen = Increments(new, old, moment.share[:, None])
        else:
            seen = Increments(new, old, np.full(1, np.nan))
        self._evidence = betting.update(self._bet, self._evidence, seen, seconds, memo=self._memo)
        if self.judged.arms is not None:
            for number, share in enumerate(self._shares):
                self._totals[:, number] += np.where((moment.share == share)[:, None, None], counts, 0.0)
        if self._spread is not None:
            values = np.asarray(self.judged.values(self._categories))
            self._spread = dispersion.add(self._spread, new, old, values)
        self._peak = np.maximum(self._peak, self._now())


def _stream(judged: Judged, traffic: Traffic) -> tuple[Stream, Arms]:
    """Return the events that a guard judges, and whose they are where it judges one arm alone."""
    if judged.kind != "rate":
        series = judged.counters["outcomes"]
        higher = judged.worse in ("higher", "slower")
        stream = traffic.stream(_unsuffixed(series), higher_is_worse=higher)
        wanted = "median" if judged.kind == "latency" else "mean"
        if stream.categories == 1 or stream.law.bad is not None:
            raise NoLawError(f"no {wanted} in the law for {series.name}")
        return stream, BOTH
    part, every = traffic.pair(judged.counters[judged.marked], judged.counters["total"], bad=True)
    return part.stream, every.arms


def _unsuffixed(series: Series) -> Series:
    return replace(series, name=series.name.removesuffix("_bucket"))


def _kept(state: State, rows: Rows) -> State:
    return replace(
        state,
        **{one.name: getattr(state, one.name)[rows] for one in fields(state) if one.name not in _SCALARS},
    )


def _merged(state: Evidence, fresh: Evidence, rows: Truth) -> Evidence:
    """Return the state with some rollouts begun afresh."""
    found = {}
    for one in fields(state):
        if one.name not in _SCALARS:
            old, new = getattr(state, one.name), getattr(fresh, one.name)
            found[one.name] = np.where(rows.reshape(-1, *[1] * (old.ndim - 1)), new, old)
    return replace(state, **found)
