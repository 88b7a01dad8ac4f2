"""The exporter of an ensemble of forecasting models: its validation table, forecasts and log."""

from __future__ import annotations

import logging
import re
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from rollguard.exporters.exposition.families import Family, single
from rollguard.exporters.forecast import metrics, table
from rollguard.exporters.forecast.table import Cell, Day, Newest, Scope
from rollguard.exporters.measures.accumulators import Counter
from rollguard.exporters.measures.arm_counters import ERROR, OK
from rollguard.exporters.runtime.follower import Input
from rollguard.exporters.sources.file import FileSource
from rollguard.exporters.sources.interface import Block, Result, Source
from rollguard.exporters.sources.sql import Query, SqlSource
from rollguard.metric import Metric

logger = logging.getLogger(__name__)

LISTEN = "127.0.0.1:9844"
RESULTS = ("success", "failure")
TIMED_QUERIES = 20
"""The first queries, whose median time later ones are compared with."""

_CRITICAL = re.compile(rb"\bCRITICAL\b")
_SETTING = re.compile(r"^\s*(?:export\s+)?(CANARY_SYMBOLS|CANARY_HORIZONS)\s*=\s*(.*?)\s*$", re.MULTILINE)


class ForecastState(msgspec.Struct):
    """Everything that a checkpoint of the exporter holds.

    Args:
        symbols: of the stage, sorted; none is all.
        horizons: of the stage.
        since: first day of the stage, YYYY-MM-DD; empty where it was there before the exporter.
        baselines: (symbol, horizon, test error of the stage's first day).
        seconds: times of the first queries.
        seen: by metric, (symbol, horizon, result, total) as last seen.
        counts: by metric, state of its counter.
        critical: critical lines of the log.
    """

    symbols: list[str] = []
    horizons: list[str] = []
    since: str = ""
    baselines: list[tuple[str, str, float]] = []
    seconds: list[float] = []
    seen: dict[str, list[tuple[str, str, str, int]]] = {}
    counts: dict[str, msgspec.Raw] = {}
    critical: int = 0


class Forecast:
    """Takes rows and log lines in and yields metrics; see `rollguard.exporters.runtime.follower.Exporter`.

    Args:
        database: URL of the validation table, the forecasts and the calibrations.
        env: file with CANARY_SYMBOLS and CANARY_HORIZONS; None for everything that the table has.
        log: path or pattern of the forecast job's log; None for no critical errors.
        forecasts: SQL that brings result and total, and symbol and horizon where it can.
        calibrations: the same of calibrations.
        models: how many models the new ensemble has.
        legacy: how many the old one had.
        clock: Unix seconds.
    Raises:
        DatabaseError: the URL is none, or its driver is missing.
    """

    name = "forecast"
    title = "ensemble forecast"
    version = 1

    def __init__(
        self,
        database: str,
        *,
        env: Path | None = None,
        log: str | None = None,
        forecasts: str = table.FORECASTS,
        calibrations: str = table.CALIBRATIONS,
        models: int = 2,
        legacy: int = 4,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._env = env
        self._models = models
        self._clock = clock
        self._validation = SqlSource(database, table.queries(database, models, legacy), "validation")
        self._ends = {
            metrics.FORECASTS: SqlSource(database, [Query("forecasts", forecasts)], "forecasts"),
            metrics.CALIBRATIONS: SqlSource(database, [Query("calibrations", calibrations)], "calibrations"),
        }
        self._log = FileSource(log, "log") if log else None
        self._state = ForecastState()
        self._counters = {metric: Counter(metric, [(one,) for one in RESULTS]) for metric in self._ends}
        self._counters[metrics.DATABASE_LOOKS] = Counter(metrics.DATABASE_LOOKS, [(OK,), (ERROR,)])
        self._days: list[Day] = []
        self._newest: list[Newest] = []
        self._up: bool | None = None
        self._env_error = ""
        self._seconds: float | None = None
        self.newest: float | None = None

    def inputs(self) -> Sequence[Input[Any]]:
        """Return the validation table, the two counted tables, and the log where there is one."""
        found: list[Input[Any]] = [Input(self._validation, self.feed_validation)]
        for metric, source in self._ends.items():
            found.append(Input(source, self._feeder(metric)))
        if self._log is not None:
            log: Source[Block] = self._log
            found.append(Input(log, self.feed_log))
        return found

    def feed_validation(self, results: tuple[Result, ...]) -> None:
        """Take what the validation table says now; what cannot be read or makes no sense is unknown."""
        self._follow_stage()
        self._seconds = sum(result.seconds for result in results)
        try:
            if any(result.error for result in results):
                raise ValueError(next(result.error for result in results if result.error))
            self._days, self._newest = table.days(results[0].rows), table.newest(results[1].rows)
        except ValueError as error:
            if self._up is not False:
                logger.error("the validation table cannot be used: %s", error)
            self._up, self._days, self._newest = False, [], []
            self._counters[metrics.DATABASE_LOOKS].add(ERROR)
            return
        self._up = True
        self._counters[metrics.DATABASE_LOOKS].add(OK)
        self.newest = self._clock()
        if len(self._state.seconds) < TIMED_QUERIES:
            self._state.seconds.append(self._seconds)
        self._find_baselines()

    def feed_ends(self, metric: Metric, result: Result) -> None:
        """Count what is new of a table of forecasts or calibrations, in the stage's symbols and horizons.

        What was there before the exporter's first start is counted from there on as old.
        """
        if result.error:
            return
        try:
            rows = table.totals(result.rows)
        except ValueError as error:
            logger.error("%s: its rows are not understood: %s", metric.name, error)
            return
        known = {row[:3]: row[3] for row in self._state.seen.get(metric.name, [])}
        first, scope = metric.name not in self._state.seen, self._scope
        now: dict[tuple[str, str, str], int] = {}
        for row in rows:
            key = (row.symbol, row.horizon, row.result)
            now[key] = now.get(key, 0) + row.total
        for key, total in now.items():
            more = total - known.get(key, 0)
            if not first and more > 0 and scope.has(key[0], key[1]):
                self._counters[metric].add(key[2], amount=more)
        self._state.seen[metric.name] = [(*key, total) for key, total in now.items()]

    def feed_log(self, block: Block) -> None:
        """Count the critical lines of the log."""
        lines = block.lines.split(b"\n")
        self._state.critical += sum(_CRITICAL.search(line) is not None for line in lines)

    def families(self, end: float) -> Iterator[Family]:
        """Yield what the tables said at the last look; days as of `end` (Unix seconds)."""
        yield from self._of_cells()
        yield from self._of_day(datetime.fromtimestamp(end, UTC).date())
        yield single(metrics.QUERY_DURATION, self._seconds)
        seconds = self._state.seconds
        enough = len(seconds) >= TIMED_QUERIES
        yield single(metrics.QUERY_BASELINE, statistics.median(seconds) if enough else None)
        yield single(metrics.DATABASE_UP, None if self._up is None else float(self._up))
        for counter in self._counters.values():
            yield counter.family(end)
        if self._log is not None:
            yield single(metrics.CRITICAL_ERRORS, self._state.critical)

    def save(self) -> bytes:
        """Return everything that is known, as JSON."""
        for metric, counter in self._counters.items():
            self._state.counts[metric.name] = msgspec.Raw(msgspec.json.encode(counter.state()))
        return msgspec.json.encode(self._state)

    def restore(self, state: bytes) -> None:
        """Go on from what `save` returned.

        Raises:
            ValueError: it is something else; nothing is changed.
        """
        found = msgspec.json.decode(state, type=ForecastState)
        for metric, counter in self._counters.items():
            counter.restore(found.counts.get(metric.name))
        self._state = found

    @property
    def _scope(self) -> Scope:
        return Scope(frozenset(self._state.symbols), frozenset(self._state.horizons))

    def _feeder(self, metric: Metric) -> Callable[[tuple[Result, ...]], None]:
        return lambda results: self.feed_ends(metric, results[0])

    def _follow_stage(self) -> None:
        """Begin a new baseline where the stage covers other symbols or horizons than before."""
        if self._env is None:
            return
        try:
            text = self._env.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            if str(error) != self._env_error:
                logger.warning("%s: the stage stays as it was: %s", self._env, error.strerror)
            self._env_error = str(error)
            return
        self._env_error = ""
        named = {name: _words(value) for name, value in _SETTING.findall(text)}
        symbols, horizons = named.get("CANARY_SYMBOLS", []), named.get("CANARY_HORIZONS", [])
        if (symbols, horizons) == (self._state.symbols, self._state.horizons):
            return
        known = bool(self._state.symbols or self._state.horizons)
        self._state.symbols, self._state.horizons, self._state.baselines = symbols, horizons, []
        self._state.since = datetime.fromtimestamp(self._clock(), UTC).date().isoformat() if known else ""

    def _find_baselines(self) -> None:
        known = {(symbol, horizon) for symbol, horizon, _ in self._state.baselines}
        for day in sorted(self._own(self._days), key=lambda one: one.day):
            cell = (day.symbol, day.horizon)
            if cell not in known and day.test_rmse is not None and day.day >= self._state.since:
                known.add(cell)
                self._state.baselines.append((*cell, day.test_rmse))

    def _own(self, days: list[Day]) -> list[Day]:
        scope = self._scope
        return [one for one in days if one.model_count == self._models and scope.has(one.symbol, one.horizon)]

    def _of_cells(self) -> Iterator[Family]:
        scope = self._scope
        inside = [one for one in self._newest if scope.has(one.symbol, one.horizon)]
        own = {_cell(one): one for one in inside if one.model_count == self._models}
        legacy = {_cell(one): one.test_rmse for one in inside if one.model_count != self._models}
        yield Family(metrics.DIVERGENCE, {cell: one.divergence for cell, one in own.items()})
        errors = {(*cell, "val"): one.val_rmse for cell, one in own.items()}
        yield Family(metrics.RMSE, errors | {(*cell, "test"): one.test_rmse for cell, one in own.items()})
        baselines = {(symbol, horizon): value for symbol, horizon, value in self._state.baselines}
        yield Family(metrics.RMSE_BASELINE, {cell: baselines.get(cell) for cell in own})
        yield Family(metrics.RMSE_LEGACY, legacy)

    def _of_day(self, today: date) -> Iterator[Family]:
        """Yield what is of the newest day with rows; nothing where that is before yesterday."""
        own = self._own(self._days)
        newest = max((one.day for one in own), default="")
        if newest < (today - timedelta(days=1)).isoformat():
            own = []
        day = [one for one in own if one.day == newest]
        windows = sum(one.windows for one in day)
        total = sum(one.divergences or 0.0 for one in day)
        largest = [one.divergence_max for one in day if one.divergence_max is not None]
        yield single(metrics.DIVERGENCE_AVG, total / windows if windows else None)
        yield single(metrics.DIVERGENCE_MAX, max(largest, default=None))
        yield single(metrics.OVERFITTING, sum(one.overfitting for one in day) if day else None)
        yield single(metrics.OVERFITTING_DAYS, _days_in_a_row(own, newest) if day else None)


def _days_in_a_row(days: list[Day], newest: str) -> int:
    overfitting = {one.day for one in days if one.overfitting}
    day, count = date.fromisoformat(newest), 0
    while day.isoformat() in overfitting:
        day, count = day - timedelta(days=1), count + 1
    return count


def _cell(row: Newest) -> Cell:
    return (row.symbol, row.horizon)


def _words(value: str) -> list[str]:
    return sorted({word.strip() for word in value.strip("\"'").split(",") if word.strip()})
