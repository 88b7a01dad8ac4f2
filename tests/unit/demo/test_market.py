from datetime import date
from pathlib import Path

import numpy as np
import pytest

from demo import market
from rollguard.errors import FileProblemsError

HEADER = ",".join(market.COLUMNS)


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join([HEADER, *lines]) + "\n", encoding="utf-8")
    return path


def mistakes(path: Path) -> list[str]:
    with pytest.raises(FileProblemsError) as caught:
        market.load(path)
    return [str(problem).removeprefix(str(path)) for problem in caught.value.problems]


def test_the_shipped_bars_are_twenty_years_of_two_indices() -> None:
    bars = market.load()
    assert (bars.days[0], bars.days[-1], len(bars.days)) == (date(1999, 1, 4), date(2018, 12, 31), 5031)
    assert bars.closes.shape == bars.volumes.shape == (5031, 2)
    np.testing.assert_array_equal(bars.closes[0], [1228.10, 2208.05])
    np.testing.assert_array_equal(bars.volumes[0], [877000000, 936660000])


def test_a_volume_of_zero_is_missing() -> None:
    bars = market.load()
    gaps = [bars.days[row] for row, column in np.argwhere(np.isnan(bars.volumes)) if column == 1]
    assert gaps == [date(2015, 5, 12), date(2018, 1, 9)]
    assert np.isnan(bars.volumes).sum() == 2


def test_every_bad_cell_is_named_by_its_line(tmp_path: Path) -> None:
    path = write(
        tmp_path / "bars.csv",
        "1999-01-04,1228.1,877000000,2208.05,936660000",
        "1999-01-32,-1,877000000,nan,inf",
        "1999-01-06,1272.34",
        "1999-01-07,1269.73,lots,2326.09,-5",
    )
    assert mistakes(path) == [
        ":3: date is '1999-01-32', expected a day such as 1999-01-04.",
        ":3: nasdaq_close is 'nan', expected a price above 0.",
        ":3: nasdaq_volume is 'inf', expected a volume, 0 where it is missing.",
        ":3: sp500_close is '-1', expected a price above 0.",
        ":4: the line has 2 cells, expected 5.",
        ":5: nasdaq_volume is '-5', expected a volume, 0 where it is missing.",
        ":5: sp500_volume is 'lots', expected a volume, 0 where it is missing.",
    ]


def test_days_must_ascend(tmp_path: Path) -> None:
    path = write(tmp_path / "bars.csv", "1999-01-05,1,1,1,1", "1999-01-05,1,1,1,1", "1999-01-04,1,1,1,1")
    assert mistakes(path) == [
        ":3: date is 1999-01-05, expected a day after 1999-01-05.",
        ":4: date is 1999-01-04, expected a day after 1999-01-05.",
    ]


def test_another_header_an_empty_file_and_no_file_are_said(tmp_path: Path) -> None:
    other, empty, binary = tmp_path / "other.csv", tmp_path / "empty.csv", tmp_path / "binary.csv"
    other.write_text("day,close\n", encoding="utf-8")
    empty.touch()
    binary.write_bytes(b"\xff\xfe\x00")
    assert mistakes(other) == mistakes(empty) == [f":1: the header is not {HEADER}."]
    assert mistakes(binary) == [": is not CSV in UTF-8."]
    assert mistakes(write(tmp_path / "bars.csv")) == [":1: has a header and no days."]
    assert mistakes(tmp_path / "none.csv") == [": cannot be read: No such file or directory."]


def test_bars_before_a_day_end_the_day_before() -> None:
    bars = market.load().before(date(1999, 1, 6))
    assert bars.days == (date(1999, 1, 4), date(1999, 1, 5))
    assert bars.closes.shape == bars.volumes.shape == (2, 2)
