"""A follower reads a source into measures, keeps the checkpoint, and is what Prometheus collects."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from exporters.checkpoint import Checkpoint, CheckpointFile
from exporters.sources import Block, FileSource

logger = logging.getLogger(__name__)

CHECKPOINT_SECONDS = 1.0


class Measures(Protocol):
    """What an exporter makes of the lines; it is only ever called by one thread at a time."""

    def feed(self, block: Block) -> None:
        """Take some lines in; a broken line is counted, never raised."""

    def families(self, end: float) -> Iterator[Metric]:
        """Yield fresh metrics, windows ending at `end` (Unix seconds)."""

    def save(self) -> bytes:
        """Return everything it knows, as JSON."""

    def restore(self, state: bytes) -> None:
        """Go on from what `save` returned; raises ValueError, and changes nothing, where it cannot."""


class Follower(Collector):
    """Holds a source and its measures together: no thread ever sees one without the other.

    Args:
        source: what is read; its position comes from the checkpoint.
        measures: what the lines become.
        checkpoint: where both are saved; None for none.
        clock: Unix seconds.
        timer: seconds of any steady clock.
    """

    def __init__(
        self,
        source: FileSource,
        measures: Measures,
        checkpoint: CheckpointFile | None,
        *,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._measures = measures
        self._checkpoint = checkpoint
        self._clock = clock
        self._timer = timer
        self._lock = threading.Lock()
        self._caught_up = False
        self._read_at = timer()
        self._unsaved = False
        self._tried_at = timer() - CHECKPOINT_SECONDS
        self._saved_at: float | None = None
        if checkpoint is not None and (found := checkpoint.load()) is not None:
            self._resume(found)

    def step(self) -> bool:
        """Read the next lines, and save a checkpoint where one is due.

        Returns:
            Whether there was anything; if not, wait a little.
        """
        with self._lock:
            before = self._source.position
            block = self._source.read()
            if block.lines or block.too_long:
                self._measures.feed(block)
            after = self._source.position
            moved = after != before
            self._caught_up |= block.at_end
            if block.at_end and self._source.present:
                self._read_at = self._timer()
            self._unsaved |= moved
            rotated = before is not None and (after is None or after.inode != before.inode)
        if rotated or self._timer() - self._tried_at >= CHECKPOINT_SECONDS:
            self.save()  # after a rotation at once: a second one is more than a position can follow
        return moved

    def finish(self) -> None:
        """Take in a last line that has no line feed, where nobody is going to add one."""
        with self._lock:
            self._measures.feed(Block(self._source.rest()))

    def behind(self) -> str:
        """Return why the numbers are not yet those of the whole file; empty once they are.

        Until then a counter may be below what an earlier process showed: Prometheus takes that for a reset.
        """
        with self._lock:
            if self._caught_up:
                return ""
            return f"Catching up with {self._source.path}: {self._source.lag_bytes()} bytes to read."

    def save(self) -> None:
        """Write a checkpoint if anything came since the last."""
        if self._checkpoint is None or not self._unsaved:
            return
        with self._lock:
            position, state = self._source.position, self._measures.save()
        self._tried_at = self._timer()
        made_at = self._clock()
        if self._checkpoint.save(made_at, position, state):
            self._unsaved = False
            self._saved_at = made_at

    def close(self) -> None:
        """Save what there is and let the file go."""
        self.save()
        self._source.close()

    def collect(self) -> Iterator[Metric]:
        """Yield the measures and the exporter's own health, as of now."""
        start = time.perf_counter()
        with self._lock:
            families = list(self._measures.families(self._clock()))
            present, lag = self._source.present, self._source.lag_bytes()
        yield from families
        yield _gauge("up", "Whether the events file can be read.", float(present))
        yield _gauge("lag_bytes", "Bytes of the events file not yet read.", lag)
        text = "Unix time of the checkpoint that a restart goes on from."
        text = "Time since the events file was last read to its end; before that, since the start."
        yield _gauge("lag_seconds", text, max(0.0, self._timer() - self._read_at))
        yield _gauge("checkpoint_timestamp_seconds", text, self._saved_at)
        yield _gauge("scrape_duration_seconds", "Time to collect this.", time.perf_counter() - start)

    def _resume(self, found: Checkpoint) -> None:
        try:
            self._measures.restore(bytes(found.state))
        except ValueError as error:
            logger.warning("checkpoint not used, counters start again: %s", error)
            return
        self._source.position = found.position
        self._saved_at = found.made_at


def _gauge(name: str, text: str, value: float | None) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"rollguard_exporter_{name}", text)
    if value is not None:
        family.add_metric([], value)
    return family
