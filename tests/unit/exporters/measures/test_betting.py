"""Evidence is the product of fair bets: exact at every look, and the same whichever way it is counted."""

from __future__ import annotations

import math
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from rollguard.exporters.evidence.exporter import _as_array, _as_list
from rollguard.exporters.measures import bets, betting
from rollguard.exporters.measures.betting import Array, Bet, Evidence, Increments

BETS = {
    "proportion": bets.proportion(),
    "mean": bets.mean([-5, -2, -1, 0, 1, 2, 5]),
    "higher": bets.mean([-5, -2, -1, 0, 1, 2, 5], worse="higher"),
    "slower": bets.slower(10),
    "moved": bets.moved(10),
    "split": bets.split(),
}
SHARES = np.array([0.05, 0.25])


def random_looks(bet: Bet, events: int, seed: int, shares: Array = SHARES) -> list[Increments]:
    """Return some looks at events whose arm is drawn by their share, with cuts at random."""
    rng = np.random.default_rng(seed)
    found = []
    while events > 0:
        some = min(events, int(rng.integers(1, 60)))
        arms = np.zeros((2, len(shares), bet.categories))
        for _ in range(some):
            share, outcome = rng.integers(len(shares)), rng.integers(bet.categories)
            arms[int(rng.random() < shares[share]), share, outcome] += 1
        found.append(Increments(arms[1], arms[0], shares))
        events -= some
    return found


def event_by_event(bet: Bet, looks: list[Increments], seconds: float) -> list[float]:
    """Return log E after each look, as written in the books: one factor for each event."""
    weights, reserve = np.full(bet.ways, 0.5 / bet.ways), 0.5
    learned, since, age, scale, found = np.zeros(bet.categories), 0.0, 0.0, 0.0, []
    tilts = bet.tilts(learned)
    for look in looks:
        if age < 3600 or since >= 900:
            tilts, since = bet.tilts(learned), 0.0
        hazard = 1 - math.exp(-seconds / betting.TAU_SECONDS)
        weights = weights + hazard * reserve / bet.ways
        reserve *= 1 - hazard
        for (share, outcome), count in np.ndenumerate(look.canary + look.baseline):
            for number in range(int(count)):
                ours = number < look.canary[share, outcome]
                for way in range(bet.ways):
                    r, pi = math.exp(tilts[way, outcome]), look.shares[share]
                    weights[way] *= (r if ours else 1.0) / (pi * r + 1 - pi)
        learned = learned + look.baseline.sum(axis=0)
        age, since = age + seconds, since + seconds
        whole = float(weights.sum()) + reserve
        found.append(math.log(whole) + scale)
        weights, reserve, scale = weights / whole, reserve / whole, math.log(whole) + scale
    return found


def followed(bet: Bet, looks: list[Increments], seconds: float = 15.0) -> list[Evidence]:
    state, found = betting.begin(bet), []
    for look in looks:
        state = betting.update(bet, state, look, seconds)
        found.append(state)
    return found


@pytest.mark.parametrize("name", BETS)
def test_a_bet_is_fair_whatever_the_outcome(name: str) -> None:
    rng = np.random.default_rng(1)
    for _ in range(200):
        tilts = BETS[name].tilts(rng.integers(0, 2000, BETS[name].categories).astype(float))
        pi = rng.random()
        worth = np.exp(tilts) / (pi * np.exp(tilts) + 1 - pi)
        without = 1 / (pi * np.exp(tilts) + 1 - pi)
        assert pi * worth + (1 - pi) * without == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("name", BETS)
def test_it_is_the_product_event_by_event(name: str) -> None:
    looks = random_looks(BETS[name], 4000, seed=2)
    seen = [float(state.log_e) for state in followed(BETS[name], looks)]
    assert seen == pytest.approx(event_by_event(BETS[name], looks, 15.0), abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("name", BETS)
def test_it_is_the_product_of_a_hundred_thousand_events(name: str) -> None:
    looks = random_looks(BETS[name], 100_000, seed=3)
    seen = [float(state.log_e) for state in followed(BETS[name], looks)]
    assert seen == pytest.approx(event_by_event(BETS[name], looks, 15.0), abs=1e-9)


@pytest.mark.parametrize("name", BETS)
def test_from_a_checkpoint_it_goes_on_to_the_bit(name: str) -> None:
    looks = random_looks(BETS[name], 2000, seed=4)
    whole, state = followed(BETS[name], looks), betting.begin(BETS[name])
    for number, look in enumerate(looks):
        state = betting.update(BETS[name], state, look, 15.0)
        if number % 7 == 0:
            text = msgspec.json.encode(state, enc_hook=_as_list)
            state = msgspec.json.decode(text, type=Evidence, dec_hook=_as_array)
        assert state.log_e == whole[number].log_e


def test_two_shards_are_one_process() -> None:
    bet, looks = BETS["slower"], random_looks(BETS["slower"], 2000, seed=5)
    halves = [replace(look, canary=look.canary // 2, baseline=look.baseline // 2) for look in looks]
    rests = [
        replace(look, canary=look.canary - half.canary, baseline=look.baseline - half.baseline)
        for look, half in zip(looks, halves, strict=True)
    ]
    summed = [
        Increments(one.canary + other.canary, one.baseline + other.baseline, one.shares)
        for one, other in zip(halves, rests, strict=True)
    ]
    assert float(followed(bet, summed)[-1].log_e) == pytest.approx(
        float(followed(bet, looks)[-1].log_e), abs=1e-9
    )


def test_events_of_an_unknown_share_are_judged_in_blocks_of_twenty() -> None:
    bet = bets.proportion()
    seven = np.array([[4.0, 3.0]])
    state = betting.begin(bet)
    for number in range(1, 4):
        state = betting.update(bet, state, Increments(seven * 0.0, seven, np.array([np.nan])), 15.0)
        assert state.block.sum() == 7 * number, "without the canary the block stays open"
    state = betting.update(bet, state, Increments(seven, seven, np.array([np.nan])), 15.0)
    assert state.block.sum() == 0


def test_a_block_is_closed_after_five_minutes_at_the_latest() -> None:
    bet, state = bets.proportion(), betting.begin(bets.proportion())
    few, none = np.array([[1.0, 0.0]]), np.zeros((1, 2))
    state = betting.update(bet, state, Increments(few, none, np.array([np.nan])), 15.0)
    for _ in range(19):
        state = betting.update(bet, state, Increments(none, none, np.array([np.nan])), 15.0)
    assert state.block.sum() == 0


def test_of_no_events_nothing_follows() -> None:
    empty = Increments(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0))
    assert float(followed(BETS["proportion"], [empty] * 100)[-1].log_e) == pytest.approx(0, abs=1e-12)
