"""Evidence that one arm is worse, by betting on the arm of each outcome: exact however often one looks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

TAU_SECONDS = 2 * 86400.0
"""Half of the stake is bet at once, the rest at this rate, so that a late defect is found soon, too."""
BLOCK_EVENTS = 20
BLOCK_SECONDS = 300.0
"""Events of an unknown share are judged in blocks of so many, or of those that came in so long."""
_FIRST_SECONDS = 3600.0
_REFRESH_SECONDS = 900.0  # tilts are set anew at each look of the first hour, then this often


@dataclass(frozen=True)
class Bet:
    """What is bet on: how much likelier each outcome is in an arm that is worse, in each of several ways.

    Args:
        categories: how many outcomes there are (C).
        ways: how many ways to be worse are tried at once (K).
        tilts: the baseline's counts so far, shape (..., C), to log r, shape (..., K, C).
        times: by what factor the canary's bad outcomes may be more frequent before it is worse, 1 or more.
    Source: Turner, Ly, Grünwald 2024, arXiv 2106.02693.
    """

    categories: int
    ways: int
    tilts: Callable[[Array], Array]
    times: float = 1.0


@dataclass(frozen=True)
class Increments:
    """What was counted since the last look.

    Args:
        canary: counts by assigned share and outcome, shape (..., S, C).
        baseline: the same of the other arm.
        shares: of the canary when the events were assigned, shape (S,), 0-1; NaN where nobody knows.
    """

    canary: Array
    baseline: Array
    shares: Array


@dataclass(frozen=True)
class Evidence:
    """The state of a bet; leading axes, where there are any, are bets side by side.

    Args:
        weights: log W of each way, shape (..., K).
        reserve: log U, the stake that is not bet yet, shape (...).
        log_e: now, shape (...).
        peak: the greatest log E so far, shape (...).
        learned: the baseline's outcomes so far, shape (..., C).
        tilts: log r in force, shape (..., K, C).
        block: the open block of unknown share, canary and baseline, shape (..., 2, C).
        block_seconds: since it was opened, shape (...).
        age_seconds: since the first look.
        tilts_seconds: since the tilts were set.
    """

    weights: Array
    reserve: Array
    log_e: Array
    peak: Array
    learned: Array
    tilts: Array
    block: Array
    block_seconds: Array
    age_seconds: float = 0.0
    tilts_seconds: float = 0.0


def begin(bet: Bet, shape: Sequence[int] = (), learned: Array | None = None) -> Evidence:
    """Return the evidence of nothing: log E is 0.

    Args:
        bet: what is bet on.
        shape: of the leading axes.
        learned: the baseline's outcomes that are known already, as after a hold that ended.
    """
    lead = tuple(shape)
    past = np.zeros((*lead, bet.categories)) if learned is None else learned
    return Evidence(
        weights=np.full((*lead, bet.ways), np.log(0.5 / bet.ways)),
        reserve=np.full(lead, np.log(0.5)),
        log_e=np.zeros(lead),
        peak=np.zeros(lead),
        learned=past,
        tilts=bet.tilts(past),
        block=np.zeros((*lead, 2, bet.categories)),
        block_seconds=np.zeros(lead),
    )


def update(
    bet: Bet, state: Evidence, seen: Increments, seconds: float, *, memo: dict[str, Array] | None = None
) -> Evidence:
    """Return the evidence after one more look.

    The tilts are set before the look's counts are read: their sum is the product over the single events.

    Args:
        bet: what is bet on.
        state: before the look.
        seen: what was counted since the look before.
        seconds: since the look before.
        memo: what is kept from look to look of one bet, as most have the tilts and the share of the last.
    Source: Ville's inequality; Shin, Ramdas, Rinaldo 2022 for the mixture over the moment of the change.
    """
    state = _set_tilts(bet, state)
    gained = _gained(bet, state.tilts, seen, memo)
    block, block_seconds, closed = _add_to_block(state, seen, seconds)
    if closed.any():
        gained += np.where(closed[..., None], _gained(bet, state.tilts, _realised(block)), 0.0)
    weights, reserve = _feed(state, seconds)
    weights = weights + gained
    log_e = np.logaddexp(np.logaddexp.reduce(weights, axis=-1), reserve)
    return replace(
        state,
        weights=weights,
        reserve=reserve,
        log_e=log_e,
        peak=np.maximum(state.peak, log_e),
        learned=state.learned + seen.baseline.sum(axis=-2),
        block=np.where(closed[..., None, None], 0.0, block),
        block_seconds=np.where(closed, 0.0, block_seconds),
        age_seconds=state.age_seconds + seconds,
        tilts_seconds=state.tilts_seconds + seconds,
    )


def _set_tilts(bet: Bet, state: Evidence) -> Evidence:
    """Set due tilts anew, except where a block is open that was begun with the old ones."""
    if state.age_seconds >= _FIRST_SECONDS and state.tilts_seconds < _REFRESH_SECONDS:
        return state
    begun = np.asarray(state.block.any(axis=(-2, -1)))[..., None, None]
    return replace(state, tilts=np.where(begun, state.tilts, bet.tilts(state.learned)), tilts_seconds=0.0)


def _feed(state: Evidence, seconds: float) -> tuple[Array, Array]:
    """Move a part of the reserve onto the ways, as a defect may begin at any time."""
    share = -np.expm1(-seconds / TAU_SECONDS)
    fed = np.log(share / state.weights.shape[-1]) if share > 0 else -np.inf
    return np.logaddexp(state.weights, state.reserve[..., None] + fed), state.reserve - seconds / TAU_SECONDS


def _gained(bet: Bet, tilts: Array, seen: Increments, memo: dict[str, Array] | None = None) -> Array:
    """Return sum(n1 log r - (n1 + n0) log(π r + 1 - π)) by way; events of unknown share are left out."""
    gained = np.zeros(tilts.shape[:-1])
    shares = np.broadcast_to(factored(seen.shares, bet.times), seen.canary.shape[:-1])
    for index in range(shares.shape[-1]):
        share, canary = shares[..., index], seen.canary[..., index, :]
        known = np.isfinite(share)[..., None]
        z = _log_z(tilts, share, memo)
        gained += np.where(known, _dot(tilts, canary) - _dot(z, canary + seen.baseline[..., index, :]), 0.0)
    return gained


def _log_z(tilts: Array, share: Array, memo: dict[str, Array] | None) -> Array:
    """Return log(π r + 1 - π), which is the longest part of a look at many bets."""
    if memo and memo["tilts"] is tilts and np.array_equal(memo["share"], share, equal_nan=True):
        return memo["z"]
    z = np.log1p(np.nan_to_num(share)[..., None, None] * np.expm1(tilts))
    if memo is not None:
        memo |= {"tilts": tilts, "share": share.copy(), "z": z}
    return np.asarray(z)


def _dot(by_outcome: Array, counts: Array) -> Array:
    return np.asarray(np.einsum("...kc,...c->...k", by_outcome, counts))


def _add_to_block(
    state: Evidence, seen: Increments, seconds: float
) -> tuple[Array, Array, npt.NDArray[np.bool_]]:
    """Return the open block with what was seen of unknown share, its age, and whether it is to be closed."""
    unknown = np.isnan(seen.shares)
    if not unknown.any() and not state.block_seconds.any():
        return state.block, state.block_seconds, np.zeros(state.log_e.shape, dtype=np.bool_)
    added = np.stack([arm[..., unknown, :].sum(axis=-2) for arm in (seen.canary, seen.baseline)], axis=-2)
    block = state.block + added
    begun = np.asarray(block.any(axis=(-2, -1)))
    age = np.where(begun, state.block_seconds + seconds, 0.0)
    arms = block.sum(axis=-1)
    full = (arms.sum(axis=-1) >= BLOCK_EVENTS) & (arms > 0).all(axis=-1)
    return block, age, begun & (full | (age >= BLOCK_SECONDS))


def _realised(block: Array) -> Increments:
    """Return a block as increments, with the share that was counted in it."""
    canary, baseline = block[..., 0, :], block[..., 1, :]
    both = (canary + baseline).sum(axis=-1)
    shares = canary.sum(axis=-1) / np.where(both > 0, both, 1.0)
    return Increments(canary[..., None, :], baseline[..., None, :], shares[..., None])


def factored(shares: Array, times: float) -> Array:
    """Return the canary's share of bad events that are so many times as frequent in it.

    Args:
        shares: of the canary among all events, 0-1.
        times: the factor.
    """
    return np.asarray(shares * times / (shares * times + 1 - shares))
