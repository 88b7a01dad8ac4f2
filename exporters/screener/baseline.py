"""The saved baseline of a screener: what a scan looked like when people had checked it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np

from rollguard.errors import RollguardError
from rollguard.exporters.measures.distances import Array, histogram, population_stability_index
from rollguard.exporters.screener import log as screener_log
from rollguard.exporters.screener import scans as screener_scans
from rollguard.exporters.sources.file import FileSource
from rollguard.exporters.sources.sql import SqlSource

KIND = "screener"
MIN_SAMPLE = 300
"""Scores of a scan, and of the baseline: from them on, chance takes a PSI over .30 in 1e-6 of scans."""

_EDGES = tuple(float(edge) for edge in range(10, 100, 10))


class BaselineError(RollguardError):
    """A baseline cannot be made, or its file cannot be read."""


class ScreenerBaseline(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A scan to compare later ones with.

    Args:
        kind: of the file.
        made_at: Unix seconds.
        source: where it comes from, for people.
        scan_id: of the scan.
        n: symbols that were scored.
        ready: of them, those that were ready.
        scores: min, max, mean and median.
        ratings: symbols by rating.
        edges: of the histogram's bins, strictly ascending.
        counts: scores per bin, one more than edges.
        notes: what people say of it.
    """

    kind: str
    made_at: float
    source: str
    scan_id: str
    n: int
    ready: int
    scores: dict[str, float]
    ratings: dict[str, int]
    edges: list[float]
    counts: list[int]
    notes: str = ""

    @classmethod
    def load(cls, path: Path) -> ScreenerBaseline:
        """Return the baseline of a file; raises BaselineError where it is none."""
        try:
            found = msgspec.json.decode(path.read_bytes(), type=cls)
        except OSError as error:
            raise BaselineError(f"{path}: cannot be read: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            raise BaselineError(f"{path}: is no baseline of a screener: {error}\n  {_HINT}") from error
        sound = found.kind == KIND and len(found.counts) == len(found.edges) + 1 and min(found.counts) >= 0
        if not sound or not all(low < high and math.isfinite(high) for low, high in pairwise(found.edges)):
            raise BaselineError(f"{path}: is no baseline of a screener: its histogram is broken\n  {_HINT}")
        return found

    def save(self, path: Path) -> None:
        """Write it to a file, readable by people."""
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n")

    def drift(self, scores: Array) -> float | None:
        """Return the PSI of some scores against it; None below 300 of either.

        Args:
            scores: finite numbers, shape (n,).
        """
        if len(scores) < MIN_SAMPLE or sum(self.counts) < MIN_SAMPLE:
            return None
        online = histogram(scores, np.array(self.edges))
        return population_stability_index(online, np.array(self.counts))


def screener_baseline(log: str, database: str, *, notes: str, made_at: float) -> ScreenerBaseline:
    """Return the baseline of the newest scan that both the log and the table know.

    Args:
        log: path or pattern of the Celery log.
        database: URL.
        notes: what people say of it.
        made_at: Unix seconds.
    Raises:
        BaselineError: there is no such scan.
        DatabaseError: the URL is none.
    """
    told = _told(log)
    scans = _gathered(database)
    for scan in reversed(scans.kept):
        if scan.scan_id in told and screener_scans.ENGINE in scan.screeners:
            line = told[scan.scan_id]
            counts = histogram(screener_scans.finite(scan.scores), np.array(_EDGES))
            return ScreenerBaseline(
                kind=KIND,
                made_at=made_at,
                source=f"{log}, table scan_results",
                scan_id=scan.scan_id,
                n=line.n,
                ready=line.ready,
                scores=line.scores,
                ratings=scan.ratings,
                edges=list(_EDGES),
                counts=counts.tolist(),
                notes=notes,
            )
    raise BaselineError(
        f"{log}: none of the newest {screener_scans.KEPT_SCANS} scans of the table has a distribution line\n"
        "  Make a scan of the whole universe first, and name the log of the worker that made it."
    )


def _told(log: str) -> Mapping[str, screener_log.Scan]:
    found: dict[str, screener_log.Scan] = {}
    source = FileSource(log, "log")
    while True:
        reading = source.read()
        if reading.records is not None:
            found |= {scan.scan_id: scan for scan in screener_log.parse(reading.records.lines).scans}
        if reading.at_end:
            source.close()
            return found


def _gathered(database: str) -> screener_scans.Scans:
    scans = screener_scans.Scans()
    source = SqlSource(database, [screener_scans.QUERY])
    while True:
        reading = source.read()
        (result,) = reading.records or ()
        if result.error:
            raise BaselineError(f"{source}: cannot be read: {result.error}")
        scans.take(result.rows)
        if reading.at_end:
            return scans


_HINT = "Make the file with `rollguard baseline save`; it is not meant to be written by hand."
