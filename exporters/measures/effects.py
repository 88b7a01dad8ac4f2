"""How large a difference is, with bounds that hold at every look, and how much more it varies than chance."""

from __future__ import annotations

import math

import msgspec
import numpy as np

from rollguard.exporters.measures.betting import Array

_MINUTES = 100
_CLUSTERED = 1.5
_ERRORS = 5.0  # pairs that share a minute are not independent, and a rollout is looked at each minute


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


class Spread(msgspec.Struct):
    """How much the difference of the arms varies from minute to minute, as multiples of independent outcomes.

    Successive minutes are compared, so that neither a defect nor the time of the day counts, and outcomes
    are taken as they are, so that what moves both arms does not, either.

    Args:
        last: the standardised difference of the minute before.
        count: pairs of minutes.
        total: sum of their squared differences, halved.
        squares: sum of the squares of those.
    Source: von Neumann 1941, the mean square successive difference; the variance is the hypergeometric one.
    """

    last: float | None = None
    count: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, canary: Array, baseline: Array, values: Array) -> None:
        """Take in a minute: counts by assigned share and outcome, (S, C), and the outcomes' values, (C,)."""
        score = variance = 0.0
        for ours, theirs in zip(canary, baseline, strict=True):
            n1, n0 = float(ours.sum()), float(theirs.sum())
            if n1 < 1 or n0 < 1:
                continue
            both = (ours + theirs) / (n1 + n0)
            middle = float(both @ values)
            score += float(ours @ values) - n1 * middle
            variance += n1 * n0 / (n1 + n0 - 1) * float(both @ (values - middle) ** 2)
        if variance <= 0:
            return
        now = score / math.sqrt(variance)
        if self.last is not None:
            step = (now - self.last) ** 2 / 2
            self.count += 1
            self.total += step
            self.squares += step * step
        self.last = now

    @property
    def ratio(self) -> float:
        """1 for independent outcomes, more where they come in clusters; 1 while there are few minutes."""
        return self.total / self.count if self.count >= _MINUTES else 1.0

    @property
    def clustered(self) -> bool:
        """Whether outcomes come in clusters, beyond doubt."""
        if self.ratio < _CLUSTERED:
            return False
        error = math.sqrt(max(0.0, self.squares / self.count - self.ratio**2) / self.count)
        return self.ratio - 1 > _ERRORS * error
