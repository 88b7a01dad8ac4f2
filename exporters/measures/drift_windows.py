"""Drift of served features against a saved reference, over a rolling window."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from typing import NamedTuple

import numpy as np

from rollguard.exporters.measures.distances import (
    Array,
    effective_size,
    kolmogorov_smirnov,
    population_stability_index,
)
from rollguard.exporters.measures.reference import Reference
from rollguard.exporters.measures.windows import RollingSums, WindowState

SLICES = 20
"""Parts of the window that are compared with each other; a third of the window fills them."""

_MOMENTS = 3


class Drift(NamedTuple):
    """How far a feature is from its reference.

    Args:
        feature: its name.
        sample: independent values that tell as much as those in the window.
        psi: population stability index, nats; None below the minimal sample.
        ks: Kolmogorov-Smirnov distance, 0-1; None below the minimal sample.
    """

    feature: str
    sample: float
    psi: float | None = None
    ks: float | None = None


class DriftWindow:
    """Counts served features into the reference's bins; nothing is kept of a row but these counts.

    Args:
        reference: bins per feature; only these features are counted, so that names cannot grow without end.
        window_seconds: length of the window.
        min_sample: below so many independent values of a feature, its drift is not shown.
    """

    def __init__(self, reference: Reference, window_seconds: float, min_sample: int) -> None:
        self._names = tuple(reference.features)
        edges = [bins.edges for bins in reference.features.values()]
        self._edges = np.array([*zip_longest(*edges, fillvalue=np.inf)])[:, :, np.newaxis]
        self._middles = np.array([found[len(found) // 2] for found in edges])
        widths = [(found[-1] - found[0]) / 2 or abs(found[0]) or 1.0 for found in edges]
        self._widths = np.array(widths)
        self._counts = [np.array(bins.counts, dtype=np.float64) for bins in reference.features.values()]
        sizes = [len(counts) for counts in self._counts]
        self._starts = np.cumsum([1, *sizes])  # cell 0 counts rows
        cells = int(self._starts[-1]) + _MOMENTS * len(sizes)
        self._sums = RollingSums(window_seconds, cells, f"drift and moments {reference.digest()}")
        self._min_sample = min_sample

    @property
    def names(self) -> tuple[str, ...]:
        """The features, in the order of a row."""
        return self._names

    def cells(self, values: Array) -> Array:
        """Return the cells that rows are counted in: the row's own, and a bin of each feature.

        Args:
            values: shape (rows, features), in the order of `names`; NaN is missing.
        Returns:
            Numbers, shape (rows, 1 + features).
        """
        columns = np.ascontiguousarray(values.T)
        above = np.zeros(columns.shape, dtype=np.uint8)
        for edges in self._edges:  # ten comparisons of all values take a tenth of a search for each
            above += columns > edges
        cells = np.zeros((len(values), len(self._names) + 1), dtype=np.int64)
        cells[:, 1:] = above.T + self._starts[:-1]
        cells[:, 1:][np.isnan(values)] = self._sums.cells
        return cells

    def counts(self, cells: Array) -> Array:
        """Return how many values lie in each bin, feature after feature, of rows' cells."""
        return np.bincount(cells.ravel(), minlength=self._sums.cells + 1)[1 : self._starts[-1]]

    def add(self, times: Array, values: Array, cells: Array | None = None) -> None:
        """Count rows where they belong.

        Args:
            times: Unix seconds, shape (rows,).
            values: shape (rows, features), in the order of `names`; NaN is missing.
            cells: of the rows; None where they are not known yet.
        """
        if cells is None:
            cells = self.cells(values)
        missing = np.isnan(values)
        self._sums.add(times, cells)
        # The inverse hyperbolic sine keeps units a million times too large apart, and outliers from ruling.
        scaled = np.where(missing, 0.0, np.arcsinh((values - self._middles) / self._widths))
        squares = scaled * scaled
        moments = np.arange(self._starts[-1], self._sums.cells)
        amounts = np.concatenate([scaled, squares, squares * squares], axis=1)
        self._sums.add(times, np.broadcast_to(moments, amounts.shape), amounts)

    def forget(self, newest: float) -> None:
        """Drop what no window can hold any more; `newest` is the newest event's Unix seconds."""
        self._sums.forget(newest)

    def clear(self) -> None:
        """Start afresh: what one release served says nothing about the next."""
        self._sums.clear()

    def sample(self, end: float) -> int:
        """Return the rows in the window that ends at `end` (Unix seconds)."""
        return int(self._sums.sums(end)[0])

    def measure(self, end: float) -> Iterator[Drift]:
        """Yield the drift of every feature with values in the window that ends at `end`."""
        rows = self._sums.rows(end)
        for number, (name, counts) in enumerate(zip(self._names, self._counts, strict=True)):
            start = self._starts[number]
            bins = rows[:, start : start + len(counts)]
            if not bins.any():
                continue
            sample = self._effective(bins, rows[:, self._starts[-1] + number :: len(self._names)])
            if sample < self._min_sample:
                yield Drift(name, sample)
                continue
            online = bins.sum(axis=0)
            psi = population_stability_index(online, counts)
            yield Drift(name, sample, psi, kolmogorov_smirnov(online, counts))

    def _effective(self, bins: Array, moments: Array) -> float:
        filled = bins.any(axis=1)
        if np.count_nonzero(filled) < SLICES:
            return 0.0
        starts = np.arange(SLICES) * np.count_nonzero(filled) // SLICES
        return effective_size(np.add.reduceat(bins[filled], starts), np.add.reduceat(moments[filled], starts))

    def state(self) -> WindowState:
        """Return what the window holds."""
        return self._sums.state()

    def restore(self, state: WindowState) -> bool:
        """Take what a window over the same reference held; return whether it fitted."""
        return self._sums.restore(state)
