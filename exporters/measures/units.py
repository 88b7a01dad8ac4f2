"""Units, such as accounts, that count once: the memory of those that have."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import NamedTuple

import msgspec
import numpy as np

MAX_UNITS = 1 << 15
"""Units that are remembered; of more, a sample by hash counts, half as large each time that it is full."""

WINDOW_SECONDS = 3600.0
"""Length of a window, in event time."""

_BITS = 64


class Counts(NamedTuple):
    """Whether an event counts.

    Args:
        run: among the first of each unit of the run.
        window: among the first of each unit of the window.
    """

    run: bool
    window: bool


ALWAYS = Counts(run=True, window=True)


class SampleState(msgspec.Struct):
    """Units that counted, as they lie in a checkpoint.

    Args:
        hashes: little-endian 64-bit numbers.
        halvings: how often the sample was halved.
    """

    hashes: bytes = b""
    halvings: int = 0


class UnitsState(msgspec.Struct):
    """The memory of a kind of event, as it lies in a checkpoint.

    Args:
        run: units that counted in it.
        window: units that counted in it.
        number: of the window: its start / length.
    """

    run: SampleState
    window: SampleState
    number: int = 0


class Units:
    """The units of one kind of event: who has counted in this run, and who in this window.

    Args:
        most: units that are remembered of each.
    """

    def __init__(self, most: int = MAX_UNITS) -> None:
        self._run, self._window = _Sample(most), _Sample(most)
        self._number = 0

    def count(self, unit: str | None, ts: float) -> Counts:
        """Return whether an event counts: without a unit always, else if it is its unit's first.

        Args:
            unit: such as an account.
            ts: Unix seconds; one of an earlier window is taken for one of the newest.
        """
        if unit is None:
            return ALWAYS
        if (number := int(ts // WINDOW_SECONDS)) > self._number:
            self._number = number
            self._window.clear()
        found = int.from_bytes(blake2b(unit.encode(errors="replace"), digest_size=_BITS // 8).digest(), "big")
        return Counts(self._run.first(found), self._window.first(found))

    def begin_run(self) -> None:
        """Let each unit count once more."""
        self._run.clear()

    def state(self) -> UnitsState:
        """Return the memory for a checkpoint."""
        return UnitsState(self._run.state(), self._window.state(), self._number)

    def restore(self, state: UnitsState) -> None:
        """Go on from a checkpoint."""
        self._run.restore(state.run)
        self._window.restore(state.window)
        self._number = state.number


class _Sample:
    """Hashes that were met, of the units that are in the sample."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.clear()

    def first(self, unit: int) -> bool:
        """Remember a unit, and return whether it is in the sample and was not met before."""
        if unit >= self._limit or unit in self._met:
            return False
        self._met.add(unit)
        while len(self._met) > self._most:
            self._halvings += 1
            self._keep(self._met)
        return True

    def clear(self) -> None:
        """Forget all."""
        self._halvings = 0
        self._keep(())

    def state(self) -> SampleState:
        """Return it for a checkpoint."""
        return SampleState(np.fromiter(self._met, "<u8", len(self._met)).tobytes(), self._halvings)

    def restore(self, state: SampleState) -> None:
        """Go on from a checkpoint."""
        self._halvings = min(max(state.halvings, 0), _BITS)
        whole = len(state.hashes) // 8
        self._keep(np.frombuffer(state.hashes, "<u8", whole).tolist())

    def _keep(self, units: Iterable[int]) -> None:
        self._limit = 1 << (_BITS - self._halvings)
        self._met = {unit for unit in units if unit < self._limit}
