"""The table `ensemble_validation_metrics`: what is asked of it, and what its rows must be."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any, NamedTuple, TypeAlias

import msgspec

from rollguard.exporters.sources.sql import Query

DAYS = 35
"""How far back days are read; a stage's baseline, once found, is remembered."""

Cell: TypeAlias = tuple[str, str]
"""Symbol and horizon."""

_DIVERGENCE = "COALESCE(divergence, (test_rmse - val_rmse) / NULLIF(val_rmse, 0))"
"""As the job wrote it, else as `rollguard.exporters.measures.distances.divergence_ratio` has it."""

_SINCE = {"sqlite": f"date('now', '-{DAYS} days')", "postgresql": f"CURRENT_DATE - {DAYS}"}
_DAILY = """
SELECT symbol, horizon, model_count, substr(CAST(validation_date AS TEXT), 1, 10) AS day,
       COUNT({divergence}) AS windows, SUM({divergence}) AS divergences, MAX({divergence}) AS divergence_max,
       SUM(CASE WHEN is_overfitting THEN 1 ELSE 0 END) AS overfitting, AVG(test_rmse) AS test_rmse
FROM ensemble_validation_metrics
WHERE validation_date >= {since} AND model_count IN (:models, :legacy)
GROUP BY symbol, horizon, model_count, substr(CAST(validation_date AS TEXT), 1, 10)
"""
_NEWEST = """
SELECT symbol, horizon, model_count, {divergence} AS divergence, val_rmse, test_rmse
FROM (SELECT symbol, horizon, model_count, divergence, val_rmse, test_rmse, ROW_NUMBER() OVER (
          PARTITION BY symbol, horizon, model_count ORDER BY validation_date DESC, window_id DESC) AS place
      FROM ensemble_validation_metrics
      WHERE validation_date >= {since} AND model_count IN (:models, :legacy)) AS ranked
WHERE place = 1
"""
FORECASTS = """
SELECT symbol, horizon, CASE WHEN success THEN 'success' ELSE 'failure' END AS result, COUNT(*) AS total
FROM forecasts GROUP BY symbol, horizon, success
"""
CALIBRATIONS = """
SELECT symbol, horizon, CASE WHEN success THEN 'success' ELSE 'failure' END AS result, COUNT(*) AS total
FROM calibrations GROUP BY symbol, horizon, success
"""


class Day(msgspec.Struct, frozen=True):
    """What one ensemble did with a symbol and horizon in one day.

    Args:
        symbol: such as AAPL.
        horizon: such as 1D.
        model_count: of the ensemble.
        day: YYYY-MM-DD.
        windows: validation windows with a divergence.
        divergences: their sum.
        divergence_max: the largest.
        overfitting: windows that overfit.
        test_rmse: mean of the windows.
    """

    symbol: str
    horizon: str
    model_count: int
    day: str
    windows: int
    divergences: float | None
    divergence_max: float | None
    overfitting: int
    test_rmse: float | None


class Newest(msgspec.Struct, frozen=True):
    """The newest validation window of an ensemble for a symbol and horizon; fields as in the table."""

    symbol: str
    horizon: str
    model_count: int
    divergence: float | None
    val_rmse: float | None
    test_rmse: float | None


class Total(msgspec.Struct, frozen=True):
    """How often something ended one way, since the table began; symbol and horizon where they are known."""

    result: str
    total: int
    symbol: str = ""
    horizon: str = ""


class Scope(NamedTuple):
    """What a stage covers; none named is all.

    Args:
        symbols: such as AAPL, MSFT.
        horizons: such as 1D.
    """

    symbols: frozenset[str] = frozenset()
    horizons: frozenset[str] = frozenset()

    def has(self, symbol: str, horizon: str) -> bool:
        """Return whether a symbol and horizon belong to it; what names neither does."""
        inside = not self.symbols or not symbol or symbol in self.symbols
        return inside and (not self.horizons or not horizon or horizon in self.horizons)


def queries(url: str, models: int, legacy: int) -> tuple[Query, Query]:
    """Return the queries of the validation table, days and newest.

    Args:
        url: of the database, which decides the dialect.
        models: how many models the new ensemble has.
        legacy: how many the old one had.
    """
    since = _SINCE["sqlite" if url.startswith("sqlite") else "postgresql"]
    parameters: Mapping[str, Any] = {"models": models, "legacy": legacy}
    daily, newest = (text.format(since=since, divergence=_DIVERGENCE) for text in (_DAILY, _NEWEST))
    return Query("days", daily, parameters), Query("newest", newest, parameters)


def days(rows: Iterable[Mapping[str, Any]]) -> list[Day]:
    """Return the rows of the query `days`; raises ValueError where one cannot be."""
    found = msgspec.convert(list(rows), list[Day], strict=False)
    for day in found:
        date.fromisoformat(day.day)
        _sound(day.divergences, day.divergence_max, day.test_rmse)
    return found


def newest(rows: Iterable[Mapping[str, Any]]) -> list[Newest]:
    """Return the rows of the query `newest`; raises ValueError where one cannot be."""
    found = msgspec.convert(list(rows), list[Newest], strict=False)
    for one in found:
        _sound(one.divergence, one.val_rmse, one.test_rmse)
        if min(one.val_rmse or 0.0, one.test_rmse or 0.0) < 0:
            raise ValueError(f"{one.symbol} {one.horizon} has an error below zero")
    return found


def totals(rows: Iterable[Mapping[str, Any]]) -> list[Total]:
    """Return rows of `result` and `total`, perhaps by `symbol` and `horizon`; raises ValueError."""
    return msgspec.convert(list(rows), list[Total], strict=False)


def _sound(*numbers: float | None) -> None:
    if not all(number is None or math.isfinite(number) for number in numbers):
        raise ValueError("a number is not finite")
