"""The exporter of a stock screener: its lines in the Celery log, and its results in the database."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import numpy as np

from rollguard.exporters.exposition.families import Family, by_label, single
from rollguard.exporters.measures.accumulators import Accumulator, Counter, Distribution, restore
from rollguard.exporters.runtime.decoding import SHAPE, TOO_LONG
from rollguard.exporters.runtime.follower import Input
from rollguard.exporters.runtime.intake import REJECTED
from rollguard.exporters.screener import metrics
from rollguard.exporters.screener.baseline import ScreenerBaseline
from rollguard.exporters.screener.log import Found, parse
from rollguard.exporters.screener.log import Scan as LoggedScan
from rollguard.exporters.screener.rankings import dominance
from rollguard.exporters.screener.scans import QUERY, Scan, Scans, finite
from rollguard.exporters.sources.file import FileSource
from rollguard.exporters.sources.interface import Block, Result
from rollguard.exporters.sources.sql import SqlSource

logger = logging.getLogger(__name__)

LISTEN = "127.0.0.1:9842"
MIN_RATED = 50
"""Rated symbols below which shares of a scan say nothing of the engine: a scan of a few chosen ones."""

MIN_FAILURES = 20
"""Failed checks below which no gate's share is shown."""

BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 2.5, 3, 5, 10, 30)
_BOUNDS_MS = np.array(BOUNDS) * 1000


class ScreenerState(msgspec.Struct):
    """Everything that a checkpoint of the exporter holds.

    Args:
        tallies: state of each counter and histogram by the metric's name.
        last: the last distribution line.
        newest: Unix seconds when a line or row was last taken in.
        scans: of the table.
    """

    tallies: dict[str, msgspec.Raw] = {}
    last: LoggedScan | None = None
    newest: float | None = None
    scans: list[Scan] = []


class Screener:
    """Takes log lines and rows in and yields metrics; see `rollguard.exporters.runtime.follower.Exporter`.

    Args:
        log: path or pattern of the Celery log.
        database: URL of the SQLite database with `scan_results`; None for the log alone.
        universe: symbols that a scan should score; None for no coverage.
        baseline: to measure the drift of the scores against; None for none.
        clock: Unix seconds.
    Raises:
        DatabaseError: the URL is none.
    """

    name = "screener"
    title = "stock screener"
    version = 1

    def __init__(
        self,
        log: str,
        *,
        database: str | None = None,
        universe: int | None = None,
        baseline: ScreenerBaseline | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._log = FileSource(log, "log")
        self._database = SqlSource(database, [QUERY], poll_seconds=60.0) if database else None
        self._universe = universe
        self._baseline = baseline
        self._clock = clock
        self._durations = Distribution(metrics.DURATION, BOUNDS, [(phase,) for phase in metrics.PHASES])
        self._rejected = Counter(REJECTED, [(SHAPE,), (TOO_LONG,)])
        names = (metrics.SCANS, metrics.SYMBOLS, metrics.SYMBOL_ERRORS, metrics.SYMBOL_NO_DATA)
        self._counts = {one: Counter(one) for one in (*names, metrics.CRASHES, metrics.DISABLED_STARTS)}
        self._tallies: tuple[Accumulator, ...] = (*self._counts.values(), self._durations, self._rejected)
        self._last: LoggedScan | None = None
        self._scans = Scans()
        self.newest: float | None = None

    def inputs(self) -> Sequence[Input[Any]]:
        """Return the log, and the table where there is one."""
        found: list[Input[Any]] = [Input(self._log, self.feed_log)]
        if self._database is not None:
            found.append(Input(self._database, self.feed_rows))
        return found

    def feed_log(self, block: Block) -> None:
        """Take some lines of the log in."""
        found = parse(block.lines)
        self._rejected.add(SHAPE, amount=found.broken)
        self._rejected.add(TOO_LONG, amount=block.too_long)
        if len(found.errors) or found.scans:
            self.newest = self._clock()
        self._take_symbols(found)
        self._counts[metrics.SCANS].add(amount=len(found.scans))
        self._counts[metrics.CRASHES].add(amount=found.crashes)
        self._counts[metrics.DISABLED_STARTS].add(amount=found.disabled_starts)
        if found.scans:
            self._last = found.scans[-1]

    def feed_rows(self, results: tuple[Result, ...]) -> None:
        """Take new rows of the table in; where it cannot be read, the scans stay as they were."""
        if not results[0].error:
            self._rejected.add(SHAPE, amount=self._scans.take(results[0].rows))

    def families(self, end: float) -> Iterator[Family]:
        """Yield what the last scan and all since the start say."""
        for tally in self._tallies:
            yield tally.family(end)
        yield from self._of_last_scan()
        if self._database is not None:
            yield from self._of_table()

    def save(self) -> bytes:
        """Return everything that is known, as JSON."""
        tallies = {one.metric.name: msgspec.Raw(msgspec.json.encode(one.state())) for one in self._tallies}
        return msgspec.json.encode(ScreenerState(tallies, self._last, self.newest, self._scans.kept))

    def restore(self, state: bytes) -> None:
        """Go on from what `save` returned; raises ValueError where it is something else."""
        found = msgspec.json.decode(state, type=ScreenerState)
        restore(self._tallies, found.tallies)
        self._last, self.newest, self._scans.kept = found.last, found.newest, found.scans

    def _take_symbols(self, found: Found) -> None:
        self._counts[metrics.SYMBOLS].add(amount=len(found.errors))
        self._counts[metrics.SYMBOL_ERRORS].add(amount=int(np.count_nonzero(found.errors)))
        self._counts[metrics.SYMBOL_NO_DATA].add(amount=int(np.count_nonzero(found.no_data)))
        for number, phase in enumerate(metrics.PHASES):
            column = found.milliseconds[:, number]
            counts = np.bincount(np.searchsorted(_BOUNDS_MS, column), minlength=len(BOUNDS) + 1)
            self._durations.observe_many(phase, counts=counts.tolist(), total=float(column.sum()) / 1000)

    def _of_last_scan(self) -> Iterator[Family]:
        last, universe = self._last, self._universe
        yield single(metrics.SCAN_SYMBOLS, last.n if last else None)
        yield by_label(metrics.SCAN_SCORE, last.scores if last else {})
        yield single(metrics.SCAN_READY, last.ready if last else None)
        yield single(metrics.UNIVERSE, universe)
        yield single(metrics.COVERAGE, last.n / universe if last and universe else None)
        yield single(metrics.READY, last.ready / last.n if last and last.n else None)

    def _of_table(self) -> Iterator[Family]:
        scan = self._scans.newest() or Scan("")
        judged = scan.judged
        known = dict.fromkeys(metrics.RATINGS, 0) if judged else {}
        yield by_label(metrics.RATING_COUNT, known | scan.ratings)
        enough = sum(scan.gates.values()) >= MIN_FAILURES
        yield by_label(metrics.GATE_FAILURES, dominance(scan.gates) if enough else {})
        whole = judged >= MIN_RATED
        yield single(metrics.FLAGGED, scan.flagged / judged if whole else None)
        yield single(metrics.PATTERN_TYPES, len(scan.patterns) if whole else None)
        yield single(metrics.OVERLAP, self._scans.overlap())
        yield single(metrics.SHIFT, self._scans.shift())
        drift = self._baseline.drift(finite(scan.scores)) if self._baseline else None
        yield single(metrics.SCORE_DRIFT, drift)
