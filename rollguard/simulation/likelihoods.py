"""How likely independent counts, or a normal value, are beyond a limit at one look."""

from __future__ import annotations

import math

import numpy as np

from rollguard.exporters.measures.betting import Array

_MOST_COUNTED = 1e6
"""More events than that on average are as good as normal, and are not counted through."""


def more_events(mean: float, limit: float) -> float:
    """Return how likely a Poisson number is above a limit."""
    if mean > _MOST_COUNTED:
        return normal_above((limit - mean) / math.sqrt(mean))
    counts = _poisson(mean)
    return float(counts[math.floor(max(limit, -1.0)) + 1 :].sum())


def greater_share(part: float, rest: float, limit: float, least: float) -> float:
    """Return how likely a part of Poisson events is more than a share of them, and they are enough.

    Args:
        part: the mean number of the events that are looked for.
        rest: of the others.
        limit: the share, 0-1.
        least: so many events there must be.
    """
    if part + rest > _MOST_COUNTED:
        over = part * (1 - limit) - rest * limit
        deviation = math.sqrt(part * (1 - limit) ** 2 + rest * limit**2)
        beyond = normal_above(-over / deviation) if deviation else 0.0
        return min(beyond, more_events(part + rest, least - 1))
    parts, rests = _poisson(part), _poisson(rest)
    below = np.concatenate([[0.0], np.cumsum(rests)])  # the chance of fewer than so many others
    numbers = np.arange(len(parts))
    most = np.full(len(parts), math.inf) if limit == 0 else np.ceil(numbers * (1 - limit) / limit - 1e-9)
    most = np.where(numbers > 0, most, 0.0)
    first, last = (
        np.clip(place, 0, len(rests)).astype(int)
        for place in (np.ceil(least - numbers), np.minimum(most, 1e9))
    )
    return float(parts @ np.maximum(below[last] - below[first], 0.0))


def normal_above(limit: float) -> float:
    """Return how likely a standard normal number is above a limit."""
    return 0.5 * math.erfc(limit / math.sqrt(2))


def _poisson(mean: float) -> Array:
    """Return the chance of each number, up to where there is next to none left."""
    numbers = np.arange(math.ceil(mean + 12 * math.sqrt(mean) + 40))
    if mean <= 0:
        return np.where(numbers == 0, 1.0, 0.0)
    logs = np.concatenate([[0.0], np.cumsum(np.log(numbers[1:]))])
    return np.asarray(np.exp(numbers * math.log(mean) - mean - logs))
