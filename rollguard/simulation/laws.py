"""Draws: the events of counters by arm and outcome, and the values of gauges, for many rollouts at once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from rollguard.exporters.measures.betting import Array
from rollguard.simulation.likelihoods import normal_above
from rollguard.simulation.windows import Rows, Truth
from rollguard.spec.traffic import Law

DAY_SECONDS = 86_400.0
_SLOW_SECONDS = 1800.0
"""A gauge that changes more slowly is drawn once a look."""
_P95 = 1.6448536269514722
_STEPS = 2000
_GRID = np.linspace(-8.0, 8.0, 16 * _STEPS + 1)
_NORMAL = np.array([0.5 * math.erfc(-x / math.sqrt(2)) for x in _GRID])
_VALUES = np.array([-3.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0])
"""Edges of a value's bins, in standard deviations about its mean."""
_LATENCIES = np.array([-1.28, -0.67, 0.0, 0.67, 1.28, 1.645, 2.33, 3.0])
"""Edges of a latency's buckets, likewise of its logarithm."""


@dataclass(frozen=True)
class Moment:
    """What is drawn next.

    Args:
        at: the end of the look, seconds since the start.
        seconds: since the look before.
        parts: the samples in it.
        share: of the new variant by rollout, 0-1, shape (rows,).
        worse: how much worse the new variant is by rollout, 0-1, shape (rows,).
        entered: which rollouts have entered a stage since the look before, shape (rows,).
    """

    at: float
    seconds: float
    parts: int
    share: Array
    worse: Array
    entered: Truth

    @property
    def tide(self) -> float:
        """The time of the day, as the sine that a swing follows."""
        return math.sin(2 * math.pi * self.at / DAY_SECONDS)


class _Shared:
    """What all outcomes of a minute share: a standard normal number that is forgotten with time."""

    def __init__(self, rows: int, memory: float, rng: np.random.Generator) -> None:
        self._memory, self._rng = memory, rng
        self.value = rng.standard_normal(rows)

    def step(self, seconds: float) -> Array:
        kept = math.exp(-seconds / self._memory) if self._memory else 0.0
        fresh = self._rng.standard_normal(self.value.shape)
        self.value = kept * self.value + math.sqrt(1 - kept * kept) * fresh
        return self.value

    def keep(self, rows: Rows) -> None:
        self.value = self.value[rows]


class Stream:
    """The events of a counter, or of a histogram.

    Args:
        law: theirs.
        rows: how many rollouts.
        rng: chance.
        edges: of the buckets or bins, ascending; None: those that go with the law.
        higher_is_worse: of values.
    """

    def __init__(
        self,
        law: Law,
        rows: int,
        rng: np.random.Generator,
        edges: tuple[float, ...] | None = None,
        *,
        higher_is_worse: bool = False,
    ) -> None:
        self.law = law
        self.fine, self.beside = False, True
        self._rng = rng
        self._worse_sign = 1.0 if higher_is_worse else -1.0
        self._shared = _Shared(rows, law.memory, rng) if law.correlation else None
        self.edges = edges or _edges(law)
        self.categories = 2 if law.bad is not None else len(self.edges) + 1
        self.counts = np.zeros((1, 2, self.categories, rows))

    @property
    def per_minute(self) -> float:
        """Events of both variants."""
        return float(self.law.per_minute or 0.0)

    @property
    def is_independent(self) -> bool:
        """Whether events come one by one, always alike."""
        return not self.law.correlation and not self.law.swing

    @property
    def chance_of_last(self) -> float:
        """The chance of the last outcome: a bad one, or one beyond the last edge."""
        if self.law.bad is not None:
            return float(self.law.bad)
        if not self.edges:
            return 0.0
        return 1 - float(np.interp(_standardised(self.law, self.edges)[-1], _GRID, _NORMAL))

    def draw(self, moment: Moment) -> None:
        """Draw `counts`: shape (samples, 2 arms: old and new, outcomes, rows).

        Where the arms are only compared (`beside`), nothing is drawn while one is alone everywhere.
        """
        if self.beside and not ((moment.share > 0) & (moment.share < 1)).any():
            self.counts = np.zeros((1, 2, self.categories, len(moment.share)))
            return
        old, new = self._chances(moment)
        shares = np.stack([1 - moment.share, moment.share])[:, None, :]
        rows = moment.share.shape[0]
        chances = np.stack([np.broadcast_to(one, (self.categories, rows)) for one in (old, new)])
        parts = moment.parts if self.fine else 1
        means = self.per_minute / 60 * moment.seconds / parts * shares * chances
        self.counts = self._rng.poisson(means, (parts, *means.shape)).astype(float)

    def keep(self, rows: Rows) -> None:
        """Forget the other rollouts."""
        self.counts = self.counts[..., rows]
        if self._shared is not None:
            self._shared.keep(rows)

    def _chances(self, moment: Moment) -> tuple[Array, Array]:
        """Return the chance of each outcome in the old and the new arm, shape (outcomes, rows or 1)."""
        shared = np.zeros(1) if self._shared is None else self._shared.step(moment.seconds)
        worse = moment.worse if moment.worse.any() else np.zeros(1)
        if self.law.bad is not None:
            bad = self._bad(shared) + self.law.swing * moment.tide
            return _two(bad), _two(bad + worse)
        if self.categories == 1:
            return np.ones((1, 1)), np.ones((1, 1))
        if self.law.median is not None:
            return self._binned(moment, shared, 0.0), self._binned(moment, shared, self._slower(worse))
        return self._binned(moment, shared, 0.0), self._binned(moment, shared, self._worse_sign * worse)

    def _bad(self, shared: Array) -> Array:
        """Return the chance of a bad outcome, which varies so much that outcomes of a minute correlate."""
        mean, part = float(self.law.bad or 0.0), self.law.correlation
        if not part:
            return np.full(1, mean)
        # A normal chance, cut at 0 and 1, would have another mean: two points have the mean and the variance.
        spread = math.sqrt(part)
        low, high = mean * (1 - spread), mean + (1 - mean) * spread
        return np.where(_normal(shared) < mean, high, low)

    def _slower(self, worse: Array) -> Array:
        return np.asarray(np.log1p(worse) / _spread_of_log(self.law))

    def _binned(self, moment: Moment, shared: Array, shift: Array | float) -> Array:
        """Return the chances of the bins where the mean is shifted by so many standard deviations."""
        part = self.law.correlation
        drift = self.law.swing * moment.tide / (self.law.deviation or 1.0)
        middle = np.atleast_1d(math.sqrt(part) * shared + drift + shift)
        beyond = (_standardised(self.law, self.edges)[:, None] - middle) / math.sqrt(1 - part)
        below = _normal(beyond)
        ends = np.zeros((1, below.shape[1])), np.ones((1, below.shape[1]))
        return np.diff(np.concatenate([ends[0], below, ends[1]]), axis=0)


class Gauge(Protocol):
    """A gauge that is read at each sample, or once a look where it is not `fine`."""

    fine: bool
    law: Law

    def draw(self, moment: Moment) -> None:
        """Draw `values`, shape (samples, rows); NaN stands for no sample."""

    def keep(self, rows: Rows) -> None:
        """Forget the other rollouts."""

    @property
    def values(self) -> Array:
        """The samples since the look before."""

    def likelihood(self, limit: float, above: bool, share: float) -> float | None:
        """Return how likely a value is beyond a limit, at most; None: nobody knows."""


class NormalGauge:
    """A gauge that wanders about its mean."""

    def __init__(self, law: Law, rows: int, rng: np.random.Generator) -> None:
        self.law, self.values = law, np.zeros((1, rows))
        self.fine = bool(law.deviation) and law.memory < _SLOW_SECONDS
        self._shared = _Shared(rows, law.memory, rng)

    def draw(self, moment: Moment) -> None:
        """Draw the samples since the look before."""
        mean = float(self.law.mean or 0.0) + self.law.swing * moment.tide
        size, parts = self.law.deviation or 0.0, moment.parts if self.fine else 1
        if not size:
            self.values = np.full((1, len(moment.share)), mean)
            return
        steps = [self._shared.step(moment.seconds / parts) for _ in range(parts)]
        self.values = mean + size * np.stack(steps)

    def keep(self, rows: Rows) -> None:
        """Forget the other rollouts."""
        self.values = self.values[:, rows]
        self._shared.keep(rows)

    def likelihood(self, limit: float, above: bool, share: float) -> float | None:
        """Return how likely a value is beyond a limit; share: of the new variant."""
        if self.law.swing:
            return None
        beyond = (limit - float(self.law.mean or 0.0)) * (1 if above else -1)
        return normal_above(beyond / self.law.deviation) if self.law.deviation else float(beyond < 0)


def _normal(values: Array) -> Array:
    """Return how likely a standard normal number is below values, to 1e-4."""
    places = np.clip((values + 8.0) * _STEPS, 0, len(_NORMAL) - 1).astype(np.int32)
    return np.asarray(_NORMAL[places])


def _two(bad: Array) -> Array:
    bad = np.clip(bad, 0.0, 1.0)
    return np.stack([1 - bad, bad])


def _edges(law: Law) -> tuple[float, ...]:
    if law.median is not None:
        return tuple(float(law.median) * np.exp(_LATENCIES * _spread_of_log(law)))
    if law.mean is not None:
        return tuple(float(law.mean) + _VALUES * float(law.deviation or 1.0))
    return ()


def _spread_of_log(law: Law) -> float:
    return math.log(float(law.p95 or 1.0) / float(law.median or 1.0)) / _P95


def _standardised(law: Law, edges: tuple[float, ...]) -> Array:
    if law.median is not None:
        logs = np.log(np.maximum(np.array(edges), 1e-300) / float(law.median))
        return np.asarray(logs / _spread_of_log(law))
    return (np.array(edges) - float(law.mean or 0.0)) / float(law.deviation or 1.0)
