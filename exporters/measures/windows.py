"""Rolling windows in event time, in bounded memory: sums per time bucket."""

from __future__ import annotations

import math

import msgspec
import numpy as np

from rollguard.exporters.measures.distances import Array

BUCKETS = 60
"""Buckets per window: a window is at most one sixtieth longer than asked for."""

MAX_FUTURE_SECONDS = 60.0
"""How far a producer's clock may be ahead; a window keeps that much more than its length."""


class WindowState(msgspec.Struct, frozen=True):
    """What a window holds, as it lies in a checkpoint.

    Args:
        layout: names the meaning of the cells; a window takes only a state of its own layout.
        bucket_seconds: width of a bucket.
        buckets: number of a bucket (its start / width) → its cells, little-endian 64-bit floats.
    """

    layout: str
    bucket_seconds: float
    buckets: dict[int, bytes]


class RollingSums:
    """Sums of several quantities (cells) over the last `window_seconds` of event time."""

    def __init__(self, window_seconds: float, cells: int, layout: str) -> None:
        if window_seconds <= 0:
            raise ValueError(f"a window lasts more than {window_seconds} seconds")
        self.window_seconds = window_seconds
        self._bucket_seconds = window_seconds / BUCKETS
        self.cells = cells
        self._layout = layout
        self._buckets: dict[int, Array] = {}

    def add(self, times: Array, cells: Array, amounts: Array | None = None) -> None:
        """Add amounts where they belong, in whatever order they come.

        Args:
            times: Unix seconds, shape (n,).
            cells: which quantities, shape (n,) or, where each event has several, (n, k): integers in
                0-`cells`, where `cells` itself is none, so that nothing is added.
            amounts: finite numbers, in the shape of cells; without them each counts 1.
        """
        if not len(times):
            return
        numbers, rows = np.unique(np.floor(times / self._bucket_seconds), return_inverse=True)
        width = self.cells + 1
        offsets = rows * width if cells.ndim == 1 else (rows * width)[:, np.newaxis]
        flat = (offsets + cells).ravel()
        sums = np.bincount(flat, None if amounts is None else amounts.ravel(), len(numbers) * width)
        for number, row in zip(numbers.astype(np.int64).tolist(), sums.reshape(-1, width), strict=True):
            if number in self._buckets:
                self._buckets[number] += row[:-1]
            else:
                self._buckets[number] = row[:-1].astype(np.float64)

    def forget(self, newest: float) -> None:
        """Drop what no window can hold any more.

        Args:
            newest: Unix seconds of the newest event.
        """
        oldest = math.floor((newest - self.window_seconds - MAX_FUTURE_SECONDS) / self._bucket_seconds)
        for number in [number for number in self._buckets if number < oldest]:
            del self._buckets[number]

    def clear(self) -> None:
        """Start afresh."""
        self._buckets.clear()

    def sums(self, end: float) -> Array:
        """Return the sums over the window that ends at `end`, whole buckets at its start.

        Args:
            end: Unix seconds.
        Returns:
            Sums per cell, shape (cells,).
        """
        total: Array = self.rows(end).sum(axis=0)
        return total

    def rows(self, end: float) -> Array:
        """Return the sums per filled bucket of that window, the oldest first, shape (buckets, cells)."""
        first = math.floor((end - self.window_seconds) / self._bucket_seconds)
        last = math.floor(end / self._bucket_seconds)
        held = sorted(number for number in self._buckets if first <= number <= last)
        return np.array([self._buckets[number] for number in held]).reshape(-1, self.cells)

    def state(self) -> WindowState:
        """Return what the window holds."""
        rows = {number: row.astype("<f8").tobytes() for number, row in self._buckets.items()}
        return WindowState(self._layout, self._bucket_seconds, rows)

    def restore(self, state: WindowState) -> bool:
        """Take what another window of the same layout and width held.

        Args:
            state: from a checkpoint.
        Returns:
            Whether it fitted; if not, the window is as it was.
        """
        fits = (state.layout, state.bucket_seconds) == (self._layout, self._bucket_seconds)
        if not fits or any(len(row) != 8 * self.cells for row in state.buckets.values()):
            return False
        self._buckets = {n: np.frombuffer(row, "<f8").astype(np.float64) for n, row in state.buckets.items()}
        return True
