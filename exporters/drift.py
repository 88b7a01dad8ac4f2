"""Drift of served features against a saved reference, over a rolling window."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from typing import NamedTuple

import numpy as np

from exporters.reference import Reference
from exporters.statistics import Array, kolmogorov_smirnov, population_stability_index
from exporters.windows import RollingSums, WindowState


class Drift(NamedTuple):
    """How far a feature is from its reference.

    Args:
        feature: its name.
        psi: population stability index, nats.
        ks: Kolmogorov-Smirnov distance, 0-1.
    """

    feature: str
    psi: float
    ks: float


class DriftWindow:
    """Counts served features into the reference's bins; nothing is kept of a row but these counts.

    Args:
        reference: bins per feature; only these features are counted, so that names cannot grow without end.
        window_seconds: length of the window.
        min_sample: below so many values of a feature, nothing is said about it.
    """

    def __init__(self, reference: Reference, window_seconds: float, min_sample: int) -> None:
        self._names = tuple(reference.features)
        edges = [bins.edges for bins in reference.features.values()]
        self._edges = np.array([*zip_longest(*edges, fillvalue=np.inf)])[:, :, np.newaxis]
        self._counts = [np.array(bins.counts, dtype=np.float64) for bins in reference.features.values()]
        sizes = [len(counts) for counts in self._counts]
        self._starts = np.cumsum([1, *sizes])  # cell 0 counts rows
        self._sums = RollingSums(window_seconds, int(self._starts[-1]), f"drift {reference.digest()}")
        self._min_sample = min_sample

    @property
    def names(self) -> tuple[str, ...]:
        """The features, in the order of a row."""
        return self._names

    def add(self, times: Array, values: Array) -> None:
        """Count rows where they belong.

        Args:
            times: Unix seconds, shape (rows,).
            values: shape (rows, features), in the order of `names`; NaN is missing.
        """
        columns = np.ascontiguousarray(values.T)
        above = np.zeros(columns.shape, dtype=np.uint8)
        for edges in self._edges:  # ten comparisons of all values take a tenth of a search for each
            above += columns > edges
        cells = np.zeros((len(values), len(self._names) + 1), dtype=np.int64)
        cells[:, 1:] = above.T + self._starts[:-1]
        cells[:, 1:][np.isnan(values)] = self._starts[-1]
        self._sums.add(times, cells)

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
        """Yield the drift of every feature with enough values in the window that ends at `end`."""
        sums = self._sums.sums(end)
        for name, counts, start in zip(self._names, self._counts, self._starts[:-1], strict=True):
            online = sums[start : start + len(counts)]
            if online.sum() >= self._min_sample:
                yield Drift(
                    name, population_stability_index(online, counts), kolmogorov_smirnov(online, counts)
                )

    def state(self) -> WindowState:
        """Return what the window holds."""
        return self._sums.state()

    def restore(self, state: WindowState) -> bool:
        """Take what a window over the same reference held; return whether it fitted."""
        return self._sums.restore(state)
