"""What Prometheus makes of the samples in a range, for many rollouts at once.

The rendered ranges are a millisecond longer than their guards say: they hold the sample at their begin.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from rollguard.exporters.measures.betting import Array

Truth: TypeAlias = npt.NDArray[np.bool_]
Rows: TypeAlias = npt.NDArray[Any]
"""Numbers of rollouts, or for each whether it is meant."""

_BEYOND_SECONDS = 0.001
_MOST_SLOTS = 1500
"""Of a longer window not each sample is kept, so that it ends a little early or late."""


class Increase:
    """A counter's `increase` over a window.

    Args:
        rows: how many rollouts.
        window: seconds.
        step: seconds between two samples.
    Source: Prometheus's extrapolatedRate, for samples that the evaluation meets.
    """

    def __init__(self, rows: int, window: float, step: float) -> None:
        self._steps = max(1, math.floor(window / step + 1e-9))
        self._covered = self._steps * step
        self._rest = window + _BEYOND_SECONDS - self._covered
        self._every = math.ceil(self._steps / _MOST_SLOTS)
        self._slots = max(1, round(self._steps / self._every))
        self._ring = np.zeros((self._slots + 1, rows))
        self._now = np.zeros(rows)
        self._at = 0

    def add(self, gained: Array) -> Array:
        """Return the increases at successive samples.

        Args:
            gained: since the sample before, shape (samples, rows).
        """
        found = np.empty(gained.shape)
        size = len(self._ring)
        for part, more in enumerate(gained):
            self._now = self._now + more
            self._at += 1
            slot, rest = divmod(self._at, self._every)
            if rest == 0:
                self._ring[slot % size] = self._now
            first = self._ring[(slot + 1) % size] if slot >= self._slots else np.zeros_like(self._now)
            delta = self._now - first
            found[part] = delta + np.minimum(delta * (self._rest / self._covered), first)
        return found

    def keep(self, rows: Rows) -> None:
        """Forget the other rollouts."""
        self._ring, self._now = self._ring[:, rows], self._now[rows]


class Over:
    """A gauge's average, maximum, minimum or standard deviation over a window; NaN stands for no sample.

    Args:
        rows: how many rollouts.
        aggregate: which of them; or last, the newest sample.
        window: seconds.
        step: seconds between two samples.
    """

    def __init__(self, rows: int, aggregate: str, window: float, step: float) -> None:
        self._aggregate = aggregate
        steps = 0 if aggregate == "last" else math.floor(window / step + 1e-9)
        self._ring = np.full((steps + 1, rows), np.nan)
        self._sums = np.zeros((3, rows))
        self._at = 0

    def add(self, values: Array) -> Array:
        """Return the aggregate at successive samples, shape (samples, rows)."""
        if self._aggregate == "last":
            return values
        found = np.empty(values.shape)
        for part, value in enumerate(values):
            place = self._at % len(self._ring)
            gone = self._ring[place].copy()
            self._ring[place] = value
            self._at += 1
            found[part] = self._of(value, gone)
        return found

    def keep(self, rows: Rows) -> None:
        """Forget the other rollouts."""
        self._ring, self._sums = self._ring[:, rows], self._sums[:, rows]

    def _of(self, value: Array, gone: Array) -> Array:
        if self._aggregate in ("maximum", "minimum"):
            function = np.fmax if self._aggregate == "maximum" else np.fmin
            return np.asarray(function.reduce(self._ring[: self._at], axis=0))
        if self._at % len(self._ring) == 0:  # the sums are made anew, so that roundings do not grow
            self._sums = _powers(self._ring).sum(axis=1)
        else:
            self._sums = self._sums + _powers(value) - _powers(gone)
        count, total, squares = self._sums
        mean = total / np.where(count > 0, count, np.nan)
        if self._aggregate == "average":
            return np.asarray(mean)
        return np.sqrt(np.maximum(squares / np.where(count > 0, count, np.nan) - mean * mean, 0.0))


def _powers(samples: Array) -> Array:
    """Return 1, a sample and its square; nothing of one that is not there."""
    there = ~np.isnan(samples)
    known = np.where(there, samples, 0.0)
    return np.stack([there.astype(float), known, known * known])


class Lasting:
    """For how long a condition has held: whether an alert fires after its `for`, and is pending before.

    Args:
        rows: how many rollouts.
        seconds: of `for`.
    """

    def __init__(self, rows: int, seconds: float) -> None:
        self._seconds = seconds
        self._since = np.full(rows, np.inf)

    def add(self, truth: Truth, times: Array) -> tuple[Truth, Truth]:
        """Return whether it fires at any of successive samples, and whether it is pending at the last, too.

        Args:
            truth: of the condition, shape (samples, rows).
            times: of the samples, seconds, shape (samples,).
        """
        fired: Truth = np.zeros(truth.shape[1], dtype=np.bool_)
        if not truth.any():
            self._since[:] = np.inf
            return fired, fired
        for holds, now in zip(truth, times, strict=True):
            self._since = np.where(holds, np.minimum(self._since, now), np.inf)
            fired |= now - self._since >= self._seconds - 1e-6
        return fired, np.asarray(np.isfinite(self._since))

    def keep(self, rows: Rows) -> None:
        """Forget the other rollouts."""
        self._since = self._since[rows]
