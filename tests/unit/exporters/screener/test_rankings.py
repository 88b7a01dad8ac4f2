from __future__ import annotations

import pytest

from rollguard.exporters.screener.metrics import RATINGS
from rollguard.exporters.screener.rankings import dominance, is_pyramid, overlap_ratio, shift_points, top


def test_the_top_is_by_score_and_ties_by_name() -> None:
    assert top({"C": 1.0, "A": 2.0, "B": 2.0, "D": 0.0}, 3) == ("A", "B", "C")


@pytest.mark.parametrize(
    ("newer", "older", "share"),
    [
        ("ABCD", "ABCD", 1.0),
        ("ABCD", "CDEF", 0.5),
        ("ABCD", "EFGH", 0.0),
        ("AB", "ABCD", 0.5),
        ("", "A", None),
    ],
)
def test_the_overlap_is_the_share_of_the_longer(newer: str, older: str, share: float | None) -> None:
    assert overlap_ratio(newer, older) == share


def test_a_shift_is_the_mean_change_of_those_who_led() -> None:
    without = {"A": 90.0, "B": 80.0, "C": 10.0}
    assert shift_points(without, {"A": 85.0, "B": 81.0, "C": 99.0}, size=2) == 3.0
    assert shift_points(without, {"A": 85.0, "C": 99.0}, size=2) == 5.0
    assert shift_points(without, {"C": 99.0}, size=2) is None
    assert shift_points({}, {"A": 1.0}) is None


def test_dominance_is_the_share_of_all_failures() -> None:
    assert dominance({"volume": 3, "atr": 1}) == {"atr": 0.25, "volume": 0.75}
    assert dominance({}) == {}


@pytest.mark.parametrize(
    ("counts", "pyramid"),
    [((10, 30, 100, 350), True), ((10, 10, 100, 350), False), ((0, 1, 2, 3), True), ((4, 3, 2, 1), False)],
)
def test_a_pyramid_is_rarer_at_each_step_to_the_top(counts: tuple[int, ...], pyramid: bool) -> None:
    assert is_pyramid(dict(zip(RATINGS, counts, strict=True)), RATINGS) is pyramid


def test_a_rating_that_nothing_has_is_the_rarest() -> None:
    assert is_pyramid({"Buy": 1, "Watch": 2, "Pass": 3}, RATINGS)
    assert not is_pyramid({"StrongBuy": 1, "Buy": 2, "Watch": 3}, RATINGS)
