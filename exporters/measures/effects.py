"""How large a difference is, with bounds that hold at every look."""

from __future__ import annotations

import numpy as np

from rollguard.exporters.measures.betting import Array


def difference(
    canary: Array, baseline: Array, values: Array, *, alpha: float = 0.05, tau: float = 0.05
) -> tuple[Array, Array, Array]:
    """Return how much the canary's mean differs from the baseline's, with bounds that hold at every look.

    Args:
        canary: counts by assigned share and outcome, shape (..., S, C).
        baseline: the same of the other arm.
        values: what each outcome counts, shape (C,).
        alpha: the chance that the lower (or the upper) bound is ever wrong, 0-1.
        tau: the difference at which the bounds are narrowest, in the unit of the values.
    Returns:
        The difference, its lower bound and its upper bound, shape (...); NaN and infinities while an arm has
        no events.
    Source: Robbins 1970, the normal mixture, one-sided; within each assigned share, weighted by information.
    """
    n1, n0 = canary.sum(axis=-1), baseline.sum(axis=-1)
    beside = (n1 > 0) & (n0 > 0)
    n1, n0 = np.where(beside, n1, 1.0), np.where(beside, n0, 1.0)
    both = (canary + baseline) / (n1 + n0)[..., None]
    middle = both @ values
    variance = (both * (values - middle[..., None]) ** 2).sum(axis=-1)
    variance = variance + np.ptp(values) ** 2 / (n1 + n0 + 2) / 4
    weight = np.where(beside, 1 / (variance * (1 / n1 + 1 / n0)), 0.0)
    information = weight.sum(axis=-1)
    score = (weight * (canary @ values / n1 - baseline @ values / n0)).sum(axis=-1)
    known = information > 0
    information = np.where(known, information, 1.0)
    precision = 1 / tau**2
    grown = np.log(0.5 + np.sqrt(1 + information / precision) / (2 * alpha))
    radius = np.where(known, np.sqrt(2 * (information + precision) * grown) / information, np.inf)
    found = np.where(known, score / information, np.nan)
    around = np.where(known, found, 0.0)
    return found, around - radius, around + radius
