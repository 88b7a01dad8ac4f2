from __future__ import annotations

import random

import msgspec
import pytest

from rollguard.exporters.measures.units import ALWAYS, WINDOW_SECONDS, Counts, Units, UnitsState

NOW = 1_700_000_000.0


def restarted(units: Units, most: int = 1 << 15) -> Units:
    other = Units(most)
    other.restore(msgspec.json.decode(msgspec.json.encode(units.state()), type=UnitsState))
    return other


def test_without_a_unit_every_event_counts() -> None:
    units = Units()
    assert [units.count(None, NOW) for _ in range(3)] == [ALWAYS] * 3


def test_a_unit_counts_once_a_run_and_once_a_window() -> None:
    units = Units()
    assert units.count("a", NOW) == ALWAYS
    assert units.count("a", NOW) == Counts(run=False, window=False)
    assert units.count("b", NOW) == ALWAYS
    assert units.count("a", NOW + WINDOW_SECONDS) == Counts(run=False, window=True)
    assert units.count("a", NOW + WINDOW_SECONDS) == Counts(run=False, window=False)


def test_an_event_that_comes_late_opens_no_window_of_the_past() -> None:
    units = Units()
    units.count("a", NOW + WINDOW_SECONDS)
    assert units.count("a", NOW) == Counts(run=False, window=False)
    assert units.count("a", NOW + WINDOW_SECONDS) == Counts(run=False, window=False)


def test_a_new_run_lets_each_unit_count_once_more() -> None:
    units = Units()
    units.count("a", NOW)
    units.begin_run()
    assert units.count("a", NOW) == Counts(run=True, window=False)
    assert units.count("a", NOW) == Counts(run=False, window=False)


def test_a_restart_forgets_no_unit() -> None:
    units = Units()
    for number in range(100):
        units.count(str(number), NOW)
    other = restarted(units)
    assert not any(any(other.count(str(number), NOW)) for number in range(100))
    assert other.count("100", NOW) == ALWAYS
    assert restarted(Units()).count("a", NOW) == ALWAYS


@pytest.mark.parametrize("restarts", [False, True])
def test_of_many_units_a_sample_counts_whatever_they_do(restarts: bool) -> None:
    units, counted = Units(100), 0
    rng = random.Random(1)
    for number in range(6400):
        if restarts and number % 50 == 0:
            units = restarted(units, 100)
        counted += units.count(f"u{number}", NOW).run
        counted += units.count(f"u{rng.randrange(number + 1)}", NOW).run
    assert len(units.state().run.hashes) <= 8 * 100
    assert units.state().run.halvings >= 6
    assert 250 < counted < 700  # a hundred, and half as many at each doubling
    again = sum(units.count(f"u{number}", NOW).run for number in range(6400))
    assert again == 0


def test_a_sample_is_as_large_for_those_who_come_first_as_for_those_who_come_later() -> None:
    units = Units(100)
    counted = [number for number in range(20_000) if units.count(f"u{number}", NOW).run]
    late = [number for number in counted if number >= 10_000]
    limit = 20_000 / 2 ** units.state().run.halvings
    assert len(late) == pytest.approx(limit / 2, rel=0.5)
