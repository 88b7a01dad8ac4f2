from collections import Counter
from itertools import islice

import numpy as np
import pytest

from demo import features, market, models
from demo.market import Bars
from demo.signals import Signal, stream


@pytest.fixture(scope="module")
def bars() -> Bars:
    return market.load()


def take(bars: Bars, seed: int, count: int) -> list[Signal]:
    return list(islice(stream(bars, seed), count))


def test_a_seed_gives_one_stream(bars: Bars) -> None:
    assert take(bars, 7, 500) == take(bars, 7, 500)
    assert [signal.id for signal in take(bars, 7, 500)] != [signal.id for signal in take(bars, 8, 500)]


def test_ids_are_unique_over_passes(bars: Bars) -> None:
    signals = take(bars, 1, 13_000)
    assert len({signal.id for signal in signals}) == len(signals)


def test_a_pass_offers_each_day_and_symbol_once(bars: Bars) -> None:
    rows = features.table(bars, since=models.LIVE_SINCE)
    signals = take(bars, 1, 2 * len(rows.days))
    for offset in (0, len(rows.days)):
        offered = signals[offset : offset + len(rows.days)]
        assert sorted((s.day, s.symbol) for s in offered) == sorted(zip(rows.days, rows.symbols, strict=True))


def test_days_come_in_their_real_order_from_one_that_the_seed_draws(bars: Bars) -> None:
    firsts = set()
    for seed in range(5):
        days = [signal.day for signal in take(bars, seed, 7_000)]
        falls = [index for index in range(1, len(days)) if days[index] < days[index - 1]]
        assert len(falls) in (1, 2)
        assert {days[index] for index in falls} == {min(days)}
        firsts.add(days[0])
    assert len(firsts) == 5


def test_outcomes_are_what_the_market_did(bars: Bars) -> None:
    for signal in take(bars, 1, 200):
        row, column = bars.days.index(signal.day), market.SYMBOLS.index(signal.symbol)
        change = np.log(bars.closes[row + 1, column] / bars.closes[row, column])
        deviation = np.std(np.diff(np.log(bars.closes[: row + 1, column]))[-64:-1])
        assert signal.move == pytest.approx(change / deviation)
        assert signal.won == (signal.move > -features.STRIKE_SD)
        assert signal.day >= models.LIVE_SINCE


def test_every_order_is_filled_at_one_of_three_steps(bars: Bars) -> None:
    executions = [signal.execution for signal in take(bars, 1, 3_000)]
    assert Counter((e.cancelled, e.ladder) for e in executions).keys() == {
        (0, "low"),
        (1, "medium"),
        (2, "high"),
    }
    assert len(executions) / sum(1 + e.cancelled for e in executions) == pytest.approx(0.6, abs=0.05)
    assert np.mean([e.markouts_bps for e in executions], axis=0) == pytest.approx([0.2, 0.4, 0.6], abs=0.1)
