from datetime import date

import numpy as np
import pytest

from demo import features, market
from demo.features import FEATURES, QUARTER_DAYS
from demo.market import Bars


@pytest.fixture(scope="module")
def bars() -> Bars:
    return market.load()


def test_features_do_not_look_ahead(bars: Bars) -> None:
    everything = features.features(bars)
    for day in (date(2001, 9, 18), date(2008, 10, 14), date(2015, 5, 13)):
        known = bars.before(day)
        np.testing.assert_array_equal(features.features(known), everything[: len(known.days)])


def test_only_the_outcome_knows_the_next_day(bars: Bars) -> None:
    known = bars.before(date(2008, 10, 14))
    moves = features.next_moves(known)
    assert np.isnan(moves[-1]).all()
    np.testing.assert_array_equal(moves[:-1], features.next_moves(bars)[: len(moves) - 1])


def test_features_are_what_their_names_say(bars: Bars) -> None:
    row, quarter = 2000, slice(2000 - QUARTER_DAYS, 2000)
    logs = np.log(bars.closes[:, 0])
    deviation = np.std(np.diff(logs)[row - 1 - QUARTER_DAYS : row - 1])
    volume = bars.volumes[quarter, 0].mean()
    expected = {
        "return_1d": (logs[row] - logs[row - 1]) / deviation,
        "volume_1d": bars.volumes[row, 0] / volume,
        "return_5d": (logs[row] - logs[row - 5]) / (deviation * 5**0.5),
        "volume_5d": bars.volumes[row - 4 : row + 1, 0].mean() / volume,
    }
    assert dict(zip(FEATURES, features.features(bars)[row, 0], strict=True)) == pytest.approx(expected)
    assert features.next_moves(bars)[row, 0] == pytest.approx((logs[row + 1] - logs[row]) / deviation)


def test_a_put_wins_above_its_strike_only() -> None:
    moves = np.array([-1.51, -1.5, -1.49, 2.0])
    rows = features.Table((date(2007, 1, 3),) * 4, ("SPX",) * 4, np.zeros((4, 4)), moves)
    assert rows.won.tolist() == [False, False, True, True]


def test_rows_are_complete_and_begin_when_asked(bars: Bars) -> None:
    rows = features.table(bars, since=date(2007, 1, 1))
    assert rows.days[0] == date(2007, 1, 3)
    assert rows.days[-1] == date(2018, 12, 28)
    assert len(rows.days) == len(rows.symbols) == len(rows.moves) == len(rows.features)
    assert np.isfinite(rows.features).all()
    assert np.isfinite(rows.moves).all()


def test_a_missing_volume_costs_the_rows_that_need_it_and_no_more(bars: Bars) -> None:
    rows = features.table(bars)
    nasdaq = {day for day, symbol in zip(rows.days, rows.symbols, strict=True) if symbol == "IXIC"}
    missing = [day for day in bars.days[QUARTER_DAYS + 1 : -1] if day not in nasdaq]
    gaps = [bars.days.index(date(2015, 5, 12)), bars.days.index(date(2018, 1, 9))]
    assert missing == [bars.days[gap + after] for gap in gaps for after in range(5)]


def test_a_short_history_has_no_rows(bars: Bars) -> None:
    assert features.table(bars.before(date(1999, 3, 1))).days == ()
    assert features.table(bars.before(date(1999, 1, 6))).days == ()
