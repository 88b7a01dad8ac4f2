"""How much the difference of the arms varies from minute to minute, and how much less evidence that makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rollguard.exporters.measures.betting import Array

_MINUTES = 100
_CLUSTERED = 1.5
_ERRORS = 5.0  # pairs that share a minute are not independent, and a rollout is looked at each minute
_PRIOR_EVENTS = 5.0
_PRIOR_MINUTES = 5.0
_FIRST_MINUTES = 12.0
_UNKNOWN = 3.0
_POWER = 2.2


@dataclass(frozen=True)
class Spread:
    """The variance of the arms' difference, as multiples of that of independent outcomes.

    Successive minutes are compared, so that neither a defect nor the time of the day counts; outcomes are
    compared between arms, so that what moves both does not, either; each arm has its own mean and variance.

    Args:
        last: the standardised difference of the minute before, shape (...); NaN before the first.
        count: pairs of minutes, shape (...).
        total: sum of their squared differences, halved, shape (...).
        squares: sum of the squares of those, shape (...).
        seen: outcomes by arm so far, old and new, shape (..., 2, C).
    Source: von Neumann 1941, the mean square successive difference.
    """

    last: Array
    count: Array
    total: Array
    squares: Array
    seen: Array


def begin(categories: int, shape: Sequence[int] = ()) -> Spread:
    """Return what is known before the first minute.

    Args:
        categories: how many outcomes there are.
        shape: of the leading axes.
    """
    lead = tuple(shape)
    zeros = np.zeros(lead)
    return Spread(np.full(lead, np.nan), zeros, zeros, zeros, np.zeros((*lead, 2, categories)))


def add(spread: Spread, canary: Array, baseline: Array, values: Array) -> Spread:
    """Return what is known after one more minute.

    Args:
        spread: before it.
        canary: counts by assigned share and outcome, shape (..., S, C).
        baseline: the same of the other arm.
        values: what each outcome counts, shape (C,).
    """
    seen = spread.seen + np.stack([baseline.sum(axis=-2), canary.sum(axis=-2)], axis=-2)
    means, variances = _moments(seen, values)
    apart = (means[..., 1] - means[..., 0])[..., None]
    n1, n0 = canary.sum(axis=-1), baseline.sum(axis=-1)
    beside = (n1 >= 1) & (n0 >= 1)
    n1, n0 = np.where(beside, n1, 1.0), np.where(beside, n0, 1.0)
    weight = np.where(beside, n1 * n0 / (n1 + n0), 0.0)
    score = (weight * (canary @ values / n1 - baseline @ values / n0 - apart)).sum(axis=-1)
    variance = (weight**2 * (variances[..., 1:] / n1 + variances[..., :1] / n0)).sum(axis=-1)
    told = variance > 0
    now = np.where(told, score / np.sqrt(np.where(told, variance, 1.0)), np.nan)
    pair = told & np.isfinite(spread.last)
    step = np.where(pair, (now - np.where(pair, spread.last, 0.0)) ** 2 / 2, 0.0)
    return Spread(
        last=np.where(told, now, spread.last),
        count=spread.count + pair,
        total=spread.total + step,
        squares=spread.squares + step**2,
        seen=seen,
    )


def ratio(spread: Spread) -> Array:
    """Return 1 for independent outcomes, more where they come in clusters; 1 while there are few minutes."""
    enough = spread.count >= _MINUTES
    return np.where(enough, spread.total / np.where(enough, spread.count, 1.0), 1.0)


def clustered(spread: Spread) -> npt.NDArray[np.bool_]:
    """Return whether outcomes come in clusters, beyond doubt."""
    found, count = ratio(spread), np.maximum(spread.count, 1.0)
    error = np.sqrt(np.maximum(0.0, spread.squares / count - found**2) / count)
    return np.asarray((found >= _CLUSTERED) & (found - 1 > _ERRORS * error))


def cautious(log_e: Array, spread: Spread) -> Array:
    """Return the evidence that counts, nats: log E, divided by `caution` where it is above 0.

    Args:
        log_e: shape (...).
        spread: of the same arms.
    """
    return np.where(log_e > 0, log_e / caution(spread), log_e)


def caution(spread: Spread) -> Array:
    """Return what log E is divided by, 1 or more: 3 before the first minutes say how much the arms vary.

    For a known dispersion, E to the power of one over it would be exact; this one is estimated, so that its
    excess counts more than once.
    """
    unknown = 1 + (_UNKNOWN - 1) * np.maximum(0.0, 1 - spread.count / _FIRST_MINUTES)
    found = (spread.total + _PRIOR_MINUTES) / (spread.count + _PRIOR_MINUTES)
    return np.maximum(unknown, found**_POWER)


def _moments(seen: Array, values: Array) -> tuple[Array, Array]:
    """Return mean and variance of an outcome in each arm, shape (..., 2); few are taken for the other's."""
    both = seen.sum(axis=-2, keepdims=True)
    prior = _PRIOR_EVENTS * both / np.maximum(both.sum(axis=-1, keepdims=True), 1.0)
    parts = seen + prior
    parts = parts / np.maximum(parts.sum(axis=-1, keepdims=True), 1.0)
    means = parts @ values
    return means, (parts * (values - means[..., None]) ** 2).sum(axis=-1)
