"""When rules are evaluated after scrapes, computed; tests/contract/test_phase.py holds it by a Prometheus."""

from __future__ import annotations

import pytest

from rollguard.generators.rules.phase import (
    Group,
    Phase,
    PhaseError,
    Scraped,
    best_name,
    group_names,
    measured,
)


def phase(*, after: float, takes: float = 0.01, interval: float = 10.0) -> Phase:
    """A group that is evaluated some seconds after its target's scrape."""
    group = Group("/etc/rules/checkout.rules.yml", "checkout", interval)
    return Phase((group,), (Scraped((group.offset - after) % interval, takes),))


def test_the_wait_is_from_scrape_to_evaluation() -> None:
    assert phase(after=4.0).wait == pytest.approx(4.0)


def test_an_evaluation_during_the_scrape_counts_for_the_next_one() -> None:
    assert phase(after=1.0, takes=2.0).wait == pytest.approx(11.0)


def test_the_slowest_pair_of_group_and_target_counts() -> None:
    near, far = phase(after=2.0), phase(after=7.0)
    assert Phase(near.groups, near.targets + far.targets).wait == pytest.approx(7.0)


def test_the_best_name_waits_less_but_not_too_little() -> None:
    name, wait = best_name(phase(after=9.0), "checkout")
    assert name.startswith("checkout-p")
    assert 0.5 <= wait < 2.0


def test_the_best_name_is_one_for_all_groups_of_the_rollout() -> None:
    one = phase(after=9.0)
    groups = (*one.groups, Group("/etc/rules/checkout.rules.yml", "checkout-2", 10.0))
    assert best_name(Phase(groups, one.targets), "checkout")[1] <= Phase(groups, one.targets).wait


def test_further_groups_are_numbered() -> None:
    assert group_names("checkout", 3) == ["checkout", "checkout-2", "checkout-3"]


def test_a_prometheus_that_does_not_answer_is_named() -> None:
    with pytest.raises(PhaseError, match="/api/v1/rules"):
        measured("http://127.0.0.1:1", {"checkout": "checkout"})
