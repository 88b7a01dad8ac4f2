"""Real daily bars of two indices, read from a file."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rollguard.errors import FileProblemsError, Problem

Array = npt.NDArray[np.float64]

BARS_PATH = Path(__file__).parent / "data" / "us_indices_daily_1999_2018.csv"
SYMBOLS = ("SPX", "IXIC")
COLUMNS = ("date", "sp500_close", "sp500_volume", "nasdaq_close", "nasdaq_volume")


@dataclass(frozen=True)
class Bars:
    """Daily bars of every symbol.

    Args:
        days: trading days, ascending.
        closes: adjusted closes, shape (days, symbols).
        volumes: shape (days, symbols); NaN where the source has none.
    """

    days: tuple[date, ...]
    closes: Array
    volumes: Array

    def before(self, day: date) -> Bars:
        """Return the bars of the days before a day."""
        count = sum(known < day for known in self.days)
        return Bars(self.days[:count], self.closes[:count], self.volumes[:count])


def load(path: Path = BARS_PATH) -> Bars:
    """Return the bars of a CSV file.

    Args:
        path: has the header COLUMNS and one line per day, ascending.
    Returns:
        At least one day.
    Raises:
        FileProblemsError: it cannot be read, or lines are not as expected; all of them are named.
    """
    lines = _read(path)
    problems = [
        Problem(path, number, key, message)
        for number, cells in enumerate(lines, start=2)
        for key, message in _mistakes(cells)
    ]
    problems = problems or _disorder(path, lines)
    if problems:
        raise FileProblemsError(problems)
    values = np.array([cells[1:] for cells in lines], dtype=np.float64).reshape(-1, len(SYMBOLS), 2)
    closes, volumes = values[:, :, 0], values[:, :, 1]
    days = tuple(date.fromisoformat(cells[0]) for cells in lines)
    return Bars(days, closes, np.where(volumes > 0, volumes, np.nan))


def _read(path: Path) -> list[list[str]]:
    """Return the lines under the header."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.reader(file))
    except OSError as error:
        raise FileProblemsError([Problem(path, 0, "", f"cannot be read: {error.strerror}.")]) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise FileProblemsError([Problem(path, 0, "", "is not CSV in UTF-8.")]) from error
    if not lines or tuple(lines[0]) != COLUMNS:
        message = f"is not {','.join(COLUMNS)}."
        raise FileProblemsError([Problem(path, 1, "the header", message)])
    if len(lines) == 1:
        raise FileProblemsError([Problem(path, 1, "", "has a header and no days.")])
    return lines[1:]


def _mistakes(cells: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the column and the mistake of every bad cell of a line."""
    if len(cells) != len(COLUMNS):
        yield "the line", f"has {len(cells)} cells, expected {len(COLUMNS)}."
        return
    if not _is_day(cells[0]):
        yield "date", f"is {cells[0]!r}, expected a day such as 1999-01-04."
    for column, cell in zip(COLUMNS[1:], cells[1:], strict=True):
        value = _number(cell)
        if column.endswith("_close") and not 0 < value < math.inf:
            yield column, f"is {cell!r}, expected a price above 0."
        if column.endswith("_volume") and not 0 <= value < math.inf:
            yield column, f"is {cell!r}, expected a volume, 0 where it is missing."


def _is_day(cell: str) -> bool:
    try:
        date.fromisoformat(cell)
    except ValueError:
        return False
    return True


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan


def _disorder(path: Path, lines: Sequence[Sequence[str]]) -> list[Problem]:
    days = [date.fromisoformat(cells[0]) for cells in lines]
    return [
        Problem(path, number, "date", f"is {later}, expected a day after {earlier}.")
        for number, (earlier, later) in enumerate(pairwise(days), start=3)
        if later <= earlier
    ]
