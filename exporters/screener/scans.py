"""A screener's results in the table `scan_results`, gathered scan by scan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import numpy as np

from rollguard.exporters.measures.accumulators import OTHER
from rollguard.exporters.measures.distances import Array
from rollguard.exporters.screener import rankings
from rollguard.exporters.sources.sql import Query

ENGINE = "setup_engine"
KEPT_SCANS = 4
"""Enough for a scan, the one before it of the same screeners, and a deliberate pair between them."""

MAX_NAMES = 100
"""Ratings, gates and patterns of a scan that are told apart."""

MAX_ROWS = 20_000
"""Rows of a scan that are taken in, several times the symbols of the largest market."""

_UNDER = "$.details.screeners.setup_engine"
_FIELDS = ("rating", "setup_score", "pattern_primary", "failed_checks", "invalidation_flags")


def _field(name: str) -> str:
    paths = (
        f"json_extract(document, '{_UNDER}.{name}')",
        f"json_extract(document, '{_UNDER}.details.{name}')",
    )
    return f"COALESCE({', '.join(paths)}) AS {name}"


QUERY = Query(
    "scans",
    f"""
    SELECT id, scan_id, symbol, composite_score, {", ".join(map(_field, _FIELDS))},
           (SELECT json_group_array(key) FROM json_each(document, '$.details.screeners')) AS screeners
    FROM (SELECT id, scan_id, symbol, composite_score,
                 CASE WHEN json_valid(details) THEN details END AS document
          FROM scan_results WHERE id > :after)
    ORDER BY id
    """,  # noqa: S608 - the names above
    cursor="id",
)


class Row(msgspec.Struct, frozen=True):
    """One symbol of a scan; lists as JSON text, as SQLite brings them."""

    id: int
    scan_id: str
    symbol: str
    composite_score: float | None = None
    rating: str | None = None
    setup_score: float | None = None
    pattern_primary: str | None = None
    failed_checks: str | None = None
    invalidation_flags: str | None = None
    screeners: str | None = None


class Scan(msgspec.Struct):
    """What a scan found, as it grows.

    Args:
        scan_id: of the scan.
        composites: composite score by symbol.
        screeners: names, sorted.
        ratings: symbols by rating.
        scores: the engine's.
        patterns: different primary ones.
        gates: failed checks, by gate the symbols that failed it.
        judged: symbols with a rating.
        flagged: of them, those with an invalidation flag.
        complete: whether a look brought nothing more of it.
        rows: taken in.
    """

    scan_id: str
    composites: dict[str, float] = {}
    screeners: list[str] = []
    ratings: dict[str, int] = {}
    scores: list[float] = []
    patterns: list[str] = []
    gates: dict[str, int] = {}
    judged: int = 0
    flagged: int = 0
    complete: bool = False
    rows: int = 0

    def add(self, row: Row) -> None:
        """Take a symbol in; raises ValueError, and takes nothing, where it cannot be."""
        if self.rows >= MAX_ROWS:
            raise ValueError(f"the scan has more than {MAX_ROWS} rows")
        screeners, gates = _names(row.screeners), set(_names(row.failed_checks))
        flags = _names(row.invalidation_flags)
        self.complete = False
        self.rows += 1
        if row.composite_score is not None:
            self.composites[row.symbol] = row.composite_score
        self.screeners = sorted({*self.screeners, *screeners})
        if row.rating is None:
            return
        self.judged += 1
        self.flagged += bool(flags)
        _count(self.ratings, row.rating.replace(" ", ""))
        if row.setup_score is not None:
            self.scores.append(row.setup_score)
        fresh = row.pattern_primary and row.pattern_primary not in self.patterns
        if fresh and len(self.patterns) < MAX_NAMES:
            self.patterns.append(str(row.pattern_primary))
        for gate in gates:
            _count(self.gates, gate)


class Scans:
    """The newest scans of the table, in the order in which they began."""

    def __init__(self) -> None:
        self.kept: list[Scan] = []

    def take(self, rows: Iterable[Mapping[str, Any]]) -> int:
        """Take new rows in; a scan that none of them belongs to is complete.

        Returns:
            How many rows were passed over, as they cannot be understood.
        """
        broken = 0
        grown = set()
        for values in rows:
            try:
                row = msgspec.convert(values, Row)
                scan = self._scan(row.scan_id)
                scan.add(row)
            except ValueError:
                broken += 1
                continue
            grown.add(row.scan_id)
        for scan in self.kept:
            scan.complete = scan.scan_id not in grown
        del self.kept[:-KEPT_SCANS]
        return broken

    def newest(self) -> Scan | None:
        """Return the newest complete scan that the engine took part in."""
        return next((scan for scan in self._complete() if ENGINE in scan.screeners), None)

    def overlap(self) -> float | None:
        """Return the overlap of the top 50 of the newest scan and the one before it of the same screeners."""
        newest = self.newest()
        if newest is None:
            return None
        complete = self._complete()
        before = complete[complete.index(newest) + 1 :]
        older = next((scan for scan in before if scan.screeners == newest.screeners), None)
        if older is None:
            return None
        return rankings.overlap_ratio(rankings.top(newest.composites), rankings.top(older.composites))

    def shift(self) -> float | None:
        """Return how the top 50 moved between two scans in a row that differ in the engine alone."""
        newest = self.newest()
        if newest is None:
            return None
        complete = self._complete()
        place = complete.index(newest)
        neighbours = (*complete[max(0, place - 1) : place], *complete[place + 1 : place + 2])
        without = [name for name in newest.screeners if name != ENGINE]
        pair = next((scan for scan in neighbours if scan.screeners == without), None)
        return rankings.shift_points(pair.composites, newest.composites) if pair else None

    def _complete(self) -> list[Scan]:
        return [scan for scan in reversed(self.kept) if scan.complete]

    def _scan(self, scan_id: str) -> Scan:
        for scan in self.kept:
            if scan.scan_id == scan_id:
                return scan
        self.kept.append(Scan(scan_id))
        return self.kept[-1]


def finite(scores: Iterable[float]) -> Array:
    """Return those scores that are numbers."""
    found = np.array(list(scores), dtype=np.float64)
    kept: Array = found[np.isfinite(found)]
    return kept


def _count(counts: dict[str, int], name: str) -> None:
    """Count a name; one beyond the cap is counted as other."""
    if name not in counts and len(counts) >= MAX_NAMES:
        name = OTHER
    counts[name] = counts.get(name, 0) + 1


def _names(text: str | None) -> list[str]:
    """Return the names of a JSON list of texts, or of things with a name; raises ValueError."""
    found = msgspec.json.decode(text or "[]", type=list[str | dict[str, Any]])
    return [one if isinstance(one, str) else str(one.get("name", "?")) for one in found]
