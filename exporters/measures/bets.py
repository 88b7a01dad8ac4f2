"""What is bet on: that outcomes are worse, slower, moved, beyond a limit, or split otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rollguard.exporters.measures.betting import Array, Bet

_POINTS = np.array([0.02, 0.04, 0.07, 0.12, 0.20, 0.35])
_FACTORS = np.array([1.25, 1.5, 2.0, 3.0, 5.0, 10.0])
_TIMES = np.array([1.1, *_FACTORS])  # what is frequent is not much more so than is allowed
_SPLIT = np.array([1 / 1.35, 1 / 1.1, 1.1, 1.35])  # few, as each one costs
_LAMBDAS = np.array([0.03, 0.06, 0.12, 0.25, 0.5])
_CLIP = 3.0
_SLOWER = (np.array([0.5, 0.25, 0.1, 0.05, 0.01]), np.array([1.25, 2.0, 4.0]))
_MOVED = (np.array([0.9, 0.7, 0.5, 0.3, 0.1]), np.array([1.3, 2.0, 1 / 1.3, 1 / 2.0]))
_ENOUGH = 30.0  # outcomes of the baseline, before its mean says anything


def proportion() -> Bet:
    """Return the bet that bad outcomes are more frequent; outcomes are (good, bad)."""

    def tilts(learned: Array) -> Array:
        bad = (learned[..., 1] + 0.5) / (learned.sum(axis=-1) + 1)
        return _more_bad(bad[..., None])

    return Bet(2, len(_POINTS), tilts)


def limit(most_bad: float) -> Bet:
    """Return the bet that bad outcomes are more frequent than a limit; outcomes are (good, bad).

    It has one arm: give its counts as the canary's, at a share of 0.

    Args:
        most_bad: the greatest proportion of bad outcomes that is allowed, above 0 and below 1.
    """
    fixed = _more_bad(np.array([most_bad]))
    return Bet(2, len(_POINTS), lambda learned: np.broadcast_to(fixed, (*learned.shape[:-1], *fixed.shape)))


def _more_bad(bad: Array) -> Array:
    """Return log r of (good, bad) for proportions of bad outcomes above one, shape (..., K, 2)."""
    worse = np.minimum(bad + np.minimum(_POINTS, (_FACTORS - 1) * bad), 1 - (1 - bad) / 10)
    return np.stack([np.log1p(-worse) - np.log1p(-bad), np.log(worse) - np.log(bad)], axis=-1)


def more_than(times: float) -> Bet:
    """Return the bet that bad outcomes are more than so many times as frequent; outcomes are (good, bad).

    Only the bad ones count, so that a heavy user's good ones say nothing.

    Args:
        times: the factor, 1 or more.
    """
    return replace(_odds(_TIMES, outcomes=2), times=times)


def split() -> Bet:
    """Return the bet that the canary's share is another than the declared one; counts are of assignments."""
    return _odds(_SPLIT, outcomes=1)


def _odds(factors: Array, outcomes: int) -> Bet:
    """Return the bet that the odds that the last of some outcomes is the canary's are other ones."""
    fixed = np.zeros((len(factors), outcomes))
    fixed[:, -1] = np.log(factors)
    return Bet(
        outcomes, len(factors), lambda learned: np.broadcast_to(fixed, (*learned.shape[:-1], *fixed.shape))
    )


def mean(middles: Sequence[float], *, worse: str = "lower") -> Bet:
    """Return the bet that a value is worse on average.

    Args:
        middles: the value that each outcome, a bin, stands for, shape (C,).
        worse: ``lower`` or ``higher``.
    """
    values = np.asarray(middles, dtype=float)
    sign = 1.0 if worse == "higher" else -1.0

    def tilts(learned: Array) -> Array:
        count = learned.sum(axis=-1, keepdims=True)
        safe = np.maximum(count, 1.0)
        centre = (learned @ values)[..., None] / safe
        width = (learned * np.abs(values - centre)).sum(axis=-1, keepdims=True) / safe
        usable = (count >= _ENOUGH) & (width > 0)
        scaled = np.clip((values - centre) / np.where(usable, width, 1.0), -_CLIP, _CLIP)
        return sign * _LAMBDAS[:, None] * np.where(usable, scaled, 0.0)[..., None, :]

    return Bet(len(values), len(_LAMBDAS), tilts)


def slower(categories: int) -> Bet:
    """Return the bet that latencies are longer: the baseline's upper quantiles are exceeded more often.

    Args:
        categories: buckets in ascending order, the last one open.
    """
    return _exceedances(categories, *_SLOWER)


def moved(categories: int) -> Bet:
    """Return the bet that a feature is distributed otherwise, upwards or downwards.

    Args:
        categories: bins in ascending order.
    """
    return _exceedances(categories, *_MOVED)


def _exceedances(categories: int, tails: Array, odds: Array) -> Bet:
    """Return the bet that the edges nearest to the baseline's quantiles are exceeded at other odds."""

    def tilts(learned: Array) -> Array:
        total = learned.sum(axis=-1, keepdims=True)
        above = np.flip(np.cumsum(np.flip(learned, -1), axis=-1), -1)[..., 1:]
        share = (above + 0.5) / (total + 1)  # of the outcomes above each inner edge
        nearest = np.abs(_logit(share)[..., None, :] - _logit(tails)[:, None]).argmin(axis=-1)
        share = np.take_along_axis(share, nearest, axis=-1)[..., None]
        other = share * odds / (1 - share + share * odds)
        usable = total[..., None] >= _ENOUGH
        up = np.where(usable, np.log(other) - np.log(share), 0.0)
        down = np.where(usable, np.log1p(-other) - np.log1p(-share), 0.0)
        exceeds = np.arange(categories) > nearest[..., None, None]
        log_r = np.where(exceeds, up[..., None], down[..., None])
        return np.asarray(log_r.reshape(*learned.shape[:-1], len(tails) * len(odds), categories))

    return Bet(categories, len(tails) * len(odds), tilts)


def _logit(share: Array) -> Array:
    return np.log(share) - np.log1p(-share)
