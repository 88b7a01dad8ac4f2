"""What a model sees at a close, and what the market did next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt

from demo.market import SYMBOLS, Array, Bars

FEATURES = ("return_1d", "volume_1d", "return_5d", "volume_5d")

QUARTER_DAYS = 63
"""Returns are divided by the standard deviation of the quarter before, volumes by its mean.

Raw ones drift on their own: markets calm down, volumes grow. The models' weights know the early years only;
that these four features keep their distribution was seen on all years, when they were chosen.
"""

STRIKE_SD = 1.5
"""How far under the close a put's strike lies, in daily standard deviations.

With the strike at the close (win rate .55) a healthy candidate trailed by five points in 2 of 402 simulated
stages, by chance alone; at 1.5 (win rate .93) in none, and never by three (``bench/demo_streams.py``).
"""


@dataclass(frozen=True)
class Table:
    """One row per trading day and symbol whose features and outcome are known.

    Args:
        days: trading day of each row, ascending.
        symbols: symbol of each row.
        features: shape (rows, FEATURES).
        moves: log return until the next close, in daily standard deviations.
    """

    days: tuple[date, ...]
    symbols: tuple[str, ...]
    features: Array
    moves: Array

    @property
    def won(self) -> npt.NDArray[np.bool_]:
        """Whether a put, sold at the close for one day, expired worthless: above its strike."""
        return self.moves > -STRIKE_SD


def table(bars: Bars, since: date = date.min) -> Table:
    """Return the rows of the days since a day."""
    values, moves = features(bars), next_moves(bars)
    known = np.isfinite(values).all(axis=2) & np.isfinite(moves)
    known &= np.array([day >= since for day in bars.days], dtype=np.bool_)[:, None]
    rows, columns = np.nonzero(known)
    days = tuple(bars.days[row] for row in rows)
    return Table(days, tuple(SYMBOLS[column] for column in columns), values[known], moves[known])


def features(bars: Bars) -> Array:
    """Return the features at each close: daily and weekly return and volume, relative to the quarter.

    Args:
        bars: the history; a day's features need no later day.
    Returns:
        Shape (days, symbols, FEATURES); NaN where the history is too short or a volume is missing.
    """
    deviation, usual_volume = _usual_move(bars), _quarter_before(bars.volumes, np.nanmean)
    columns = {
        "return_1d": _log_returns(bars, 1) / deviation,
        "volume_1d": bars.volumes / usual_volume,
        "return_5d": _log_returns(bars, 5) / (np.sqrt(5) * deviation),
        "volume_5d": _trailing(bars.volumes, 5, np.mean) / usual_volume,
    }
    return np.stack([columns[name] for name in FEATURES], axis=2)


def next_moves(bars: Bars) -> Array:
    """Return each close's log return to the next, in the standard deviations of a day known by then.

    Args:
        bars: the history.
    Returns:
        Shape (days, symbols); NaN for the last day.
    """
    moves = np.full_like(bars.closes, np.nan)
    moves[:-1] = _log_returns(bars, 1)[1:]
    return moves / _usual_move(bars)


def _usual_move(bars: Bars) -> Array:
    """Return the standard deviation of daily returns."""
    return _quarter_before(_log_returns(bars, 1), np.std)


def _log_returns(bars: Bars, days: int) -> Array:
    returns = np.full_like(bars.closes, np.nan)
    logs = np.log(bars.closes)
    returns[days:] = logs[days:] - logs[:-days]
    return returns


def _quarter_before(values: Array, statistic: Callable[..., Array]) -> Array:
    """Return a statistic of the quarter before each row, the row itself excluded."""
    result = np.full_like(values, np.nan)
    result[1:] = _trailing(values, QUARTER_DAYS, statistic)[:-1]
    return result


def _trailing(values: Array, days: int, statistic: Callable[..., Array]) -> Array:
    """Return a statistic of the last `days` rows, the row itself included."""
    result = np.full_like(values, np.nan)
    if len(values) >= days:
        windows = np.lib.stride_tricks.sliding_window_view(values, days, axis=0)
        result[days - 1 :] = statistic(windows, axis=-1)
    return result
