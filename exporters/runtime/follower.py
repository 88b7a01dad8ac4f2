"""A follower reads sources into an exporter, keeps the checkpoint, and is what a scrape asks."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol

import msgspec

from rollguard.exporters.exposition.families import Family
from rollguard.exporters.runtime import health
from rollguard.exporters.runtime.checkpoint import Checkpoint, CheckpointFile
from rollguard.exporters.sources.interface import Reading, Records, Source

logger = logging.getLogger(__name__)

CHECKPOINT_SECONDS = 1.0


@dataclass(frozen=True)
class Input(Generic[Records]):
    """A source, and who takes in what it brings.

    Args:
        source: what is read.
        feed: takes some records in; a broken one is counted, never raised.
    """

    source: Source[Records]
    feed: Callable[[Records], None]


class Exporter(Protocol):
    """What turns records into metrics; it is only ever called by one thread at a time."""

    name: str
    """As in `rollguard export NAME`, and in its checkpoint."""
    title: str
    """For people."""
    version: int
    """Of what `save` returns; raise it when a field changes its meaning."""

    @property
    def newest(self) -> float | None:
        """Unix seconds of the newest event; None before the first."""

    def inputs(self) -> Sequence[Input[Any]]:
        """Return what it reads; the names of the sources are unique."""

    def families(self, end: float) -> Iterator[Family]:
        """Yield fresh metrics, windows ending at `end` (Unix seconds)."""

    def save(self) -> bytes:
        """Return everything it knows, as JSON."""

    def restore(self, state: bytes) -> None:
        """Go on from what `save` returned; raises ValueError, and changes nothing, where it cannot."""


class Follower:
    """Holds sources and their exporter together: no thread ever sees one without the other.

    Args:
        exporter: what the records become.
        checkpoint: where it is saved with the sources' positions; None for none.
        clock: Unix seconds.
        timer: seconds of any steady clock.
    """

    def __init__(
        self,
        exporter: Exporter,
        checkpoint: CheckpointFile | None,
        *,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self.exporter = exporter
        self.inputs = tuple(exporter.inputs())
        self._checkpoint = checkpoint
        self._clock = clock
        self._timer = timer
        self._lock = threading.Lock()
        self._saving = threading.Lock()
        self._progress = {one.source.name: _Progress(timer()) for one in self.inputs}
        self._unsaved = False
        self._tried_at = timer() - CHECKPOINT_SECONDS
        self._saved_at: float | None = None
        if checkpoint is not None and (found := checkpoint.load()) is not None:
            self._resume(found)

    def step(self, one: Input[Any]) -> bool:
        """Read what is new of one input, and save a checkpoint where one is due; each input has its thread.

        Returns:
            Whether there was anything; if not, wait a little.
        """
        source, progress = one.source, self._progress[one.source.name]
        if (saved := progress.saved) is not None:
            progress.saved = None
            source.saved(saved)
        reading = source.read()  # outside the lock: a server that hangs must not keep a scrape waiting
        with self._lock:
            moved = progress.take(reading, source.up, self._timer())
            if reading.records is not None:
                one.feed(reading.records)
            self._unsaved |= moved or reading.records is not None
        progress.lag = source.lag()
        if reading.save_soon or self._timer() - self._tried_at >= CHECKPOINT_SECONDS:
            self.save()
        return moved

    def finish(self) -> None:
        """Take in what is incomplete, where nobody is going to complete it."""
        for one in self.inputs:
            if (rest := one.source.rest()) is not None:
                one.feed(rest)

    def behind(self) -> str:
        """Return why the numbers are not yet those of the whole sources; empty once they are.

        Until then a counter may be below what an earlier process showed: Prometheus takes that for a reset.
        """
        for one in self.inputs:
            progress = self._progress[one.source.name]
            if not progress.caught_up:
                return f"Catching up with {one.source}: {progress.lag:.0f} {one.source.unit} to read."
        return ""

    def save(self) -> None:
        """Write a checkpoint if anything came since the last."""
        if self._checkpoint is None:
            return
        with self._saving:
            if not self._unsaved:
                return
            with self._lock:
                positions = {name: progress.position for name, progress in self._progress.items()}
                state = self.exporter.save()
                self._unsaved = False
            self._tried_at = self._timer()
            made_at = self._clock()
            if not self._checkpoint.save(made_at, positions, state):
                self._unsaved = True
                return
            self._saved_at = made_at
            for name, position in positions.items():
                self._progress[name].saved = position

    def close(self) -> None:
        """Save what there is, tell the sources, and let them go; no input is read any more."""
        self.save()
        for one in self.inputs:
            if (saved := self._progress[one.source.name].saved) is not None:
                one.source.saved(saved)
            one.source.close()

    def families(self) -> Iterator[Family]:
        """Yield the exporter's metrics and its health, as of now."""
        start = time.perf_counter()
        with self._lock:
            families = list(self.exporter.families(self._clock()))
        yield from families
        yield from health.sources(
            {one.source.name: self._health(one.source) for one in self.inputs}, self.exporter.newest
        )
        yield from health.itself(families, self._saved_at, time.perf_counter() - start)

    def status(self) -> Iterator[str]:
        """Yield a line for people about each source, the newest event and the checkpoint."""
        for one in self.inputs:
            found = self._health(one.source)
            state = "is read" if found.up else "cannot be read"
            lag = f", {found.lag:.0f} {found.unit} behind" if found.unit else ""
            yield f"{one.source.name}: {one.source} {state}{lag}"
        for what, moment in (("newest event", self.exporter.newest), ("checkpoint", self._saved_at)):
            yield f"{what}: none yet" if moment is None else f"{what}: {self._clock() - moment:.0f} s ago"

    def _health(self, source: Source[Any]) -> health.SourceHealth:
        progress = self._progress[source.name]
        late = max(0.0, self._timer() - progress.read_at - source.poll_seconds)
        return health.SourceHealth(progress.up, source.unit, progress.lag, late)

    def _resume(self, found: Checkpoint) -> None:
        start = msgspec.Raw(b"null")
        try:
            for one in self.inputs:
                name = one.source.name
                self._progress[name].position = one.source.resume(found.positions.get(name, start))
            self.exporter.restore(bytes(found.state))
        except ValueError as error:
            logger.warning("checkpoint not used, counters start again: %s", error)
            for one in self.inputs:
                self._progress[one.source.name].position = one.source.resume(start)
            return
        self._saved_at = found.made_at


class _Progress:
    """How far an input was taken in.

    Args:
        read_at: steady seconds when it was last read to its end; of the start, before that.
    """

    def __init__(self, read_at: float) -> None:
        self.read_at = read_at
        self.position: msgspec.Struct | None = None
        self.saved: msgspec.Struct | None = None
        self.caught_up = False
        self.up = False
        self.lag = 0.0

    def take(self, reading: Reading[Any], up: bool, now: float) -> bool:
        """Note where a reading ended; return whether that is another place."""
        moved = reading.position != self.position
        self.position = reading.position
        self.caught_up |= reading.at_end
        self.up = up
        if reading.at_end and up:
            self.read_at = now
        return moved
