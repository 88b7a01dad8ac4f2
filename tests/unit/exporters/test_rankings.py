from __future__ import annotations

import numpy as np
import pytest

from exporters.rankings import dominance, histogram, overlap_ratio, shift_points, top


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


def test_a_score_on_an_edge_lies_in_the_bin_below_it() -> None:
    assert histogram(np.array([0.0, 10.0, 10.1, 25.0]), np.array([10.0, 20.0])).tolist() == [2, 1, 1]
