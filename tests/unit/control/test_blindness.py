"""Blindness: by monotonic time, from the last sign of life, confirmed by several looks."""

from __future__ import annotations

import pytest

from rollguard.control.blindness import CONFIRMING_CHECKS, Blindness


@pytest.fixture
def sight() -> Blindness:
    return Blindness({"model": 60.0}, 0.0)


def look_in_vain(sight: Blindness, at: float, times: int = CONFIRMING_CHECKS) -> None:
    for _ in range(times):
        sight.record_check(None, at)


def test_who_hears_and_sees_nothing_for_long_is_blind(sight: Blindness) -> None:
    look_in_vain(sight, 60.1)
    assert sight.blind("model") is True


def test_before_anything_was_heard_nobody_knows(sight: Blindness) -> None:
    assert sight.blind("model") is None
    sight.record_heartbeat(1.0)
    assert sight.blind("model") is False


def test_nobody_is_blind_just_before(sight: Blindness) -> None:
    look_in_vain(sight, 60.0)
    assert not sight.blind("model")


def test_looks_from_before_confirm_nothing(sight: Blindness) -> None:
    look_in_vain(sight, 59.0)
    look_in_vain(sight, 61.0, CONFIRMING_CHECKS - 1)
    assert not sight.blind("model")


def test_a_heartbeat_is_a_sign_of_life(sight: Blindness) -> None:
    sight.record_heartbeat(50.0)
    look_in_vain(sight, 110.0)
    assert not sight.blind("model")
    look_in_vain(sight, 110.1)
    assert sight.blind("model") is True


def test_rules_that_are_evaluated_are_a_sign_of_life(sight: Blindness) -> None:
    for at in range(0, 600, 50):
        sight.record_check({"model": f"evaluation {at}"}, float(at))
    assert not sight.blind("model")


def test_rules_that_are_no_longer_evaluated_are_none(sight: Blindness) -> None:
    for at in (0.0, 50.0, 61.0, 62.0, 63.0):
        sight.record_check({"model": "evaluation 1"}, at)
    assert sight.blind("model") is True


def test_rules_of_another_rollout_are_none(sight: Blindness) -> None:
    for at in (61.0, 62.0, 63.0):
        sight.record_check({"other": f"evaluation {at}"}, at)
    assert sight.blind("model") is True


def test_one_look_after_a_long_suspension_is_enough_to_see_again(sight: Blindness) -> None:
    sight.record_check({"model": "evaluation 1"}, 1.0)
    look_in_vain(sight, 90_000.0, CONFIRMING_CHECKS - 1)
    sight.record_check({"model": "evaluation 2"}, 90_001.0)
    look_in_vain(sight, 90_010.0)
    assert not sight.blind("model")


def test_who_was_blind_sees_again(sight: Blindness) -> None:
    look_in_vain(sight, 100.0)
    sight.record_check({"model": "evaluation 2"}, 101.0)
    assert not sight.blind("model")
