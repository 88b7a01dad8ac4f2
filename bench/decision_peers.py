# mypy: ignore-errors
"""When other methods would roll back: run by `bench decisions` in a Python that has their libraries."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
from confseq.boundaries import normal_mixture_bound
from gbstats.frequentist.tests import SequentialTwoSidedTTest

TUNING = 5000
"""GrowthBook's default for the sample size at which its interval is tightest."""
LEAST = 50
"""Outcomes of each arm before a method of large samples is asked."""
OPTIMUM = 1000.0
"""Information, in 1 / variance of the difference, at which the normal mixture is tightest."""
TAU = 0.05
"""Standard deviation of the differences that mSPRT expects, in those of an outcome."""


def summary(name: str, arrays: Any) -> SimpleNamespace:
    """Return an arm's cumulative outcomes as gbstats reads them."""
    n, total, squares = (arrays[f"{name}_{what}"].astype(float) for what in ("n", "total", "squares"))
    mean = total / np.maximum(n, 1)
    variance = np.maximum(squares / np.maximum(n, 1) - mean**2, 1e-9) * n / np.maximum(n - 1, 1)
    return SimpleNamespace(n=n, mean=mean, unadjusted_mean=mean, variance=variance)


class Sequential(SequentialTwoSidedTTest):
    """GrowthBook's test of an absolute difference, of many rollouts at once."""

    def __init__(self, old: SimpleNamespace, new: SimpleNamespace, alpha: float) -> None:
        self.stat_a, self.stat_b, self.alpha = old, new, alpha
        self.sequential_tuning_parameter = TUNING

    @property
    def variance(self) -> Any:
        """Of the difference."""
        return self.stat_a.variance / self.stat_a.n + self.stat_b.variance / self.stat_b.n

    @property
    def point_estimate(self) -> Any:
        """The difference."""
        return self.stat_b.mean - self.stat_a.mean


def growthbook(old: SimpleNamespace, new: SimpleNamespace, alpha: float, _: float) -> Any:
    """Return where GrowthBook's sequential interval, at twice alpha as it is two-sided, is above zero."""
    return Sequential(old, new, 2 * alpha).confidence_interval[0] > 0


def confseq(old: SimpleNamespace, new: SimpleNamespace, alpha: float, scale: float) -> Any:
    """Return where the difference is above its one-sided normal mixture."""
    information = scale**2 / (old.variance / old.n + new.variance / new.n)
    above = (new.mean - old.mean) / scale * information
    grid = np.geomspace(0.01, 1e7, 5000)  # its bound is smooth, and takes long to find
    bound = np.asarray(normal_mixture_bound(grid, alpha=alpha, v_opt=OPTIMUM, alpha_opt=alpha))
    return above > np.interp(information, grid, bound)


def msprt(old: SimpleNamespace, new: SimpleNamespace, alpha: float, scale: float) -> Any:
    """Return where the mixture's likelihood ratio is over 1 / (2 alpha), and the new arm the worse one."""
    variance, tau = old.variance / old.n + new.variance / new.n, (TAU * scale) ** 2
    difference = new.mean - old.mean
    ratio = np.log(variance / (variance + tau)) / 2 + tau * difference**2 / (2 * variance * (variance + tau))
    return (ratio >= -np.log(2 * alpha)) & (difference > 0)


def main() -> None:
    """Read the outcomes of a file, and write the first look at which each method rolls back, -1 for never."""
    arrays = np.load(sys.argv[1])
    old, new = summary("old", arrays), summary("new", arrays)
    enough = (old.n >= LEAST) & (new.n >= LEAST)
    with np.errstate(all="ignore"):
        found = {
            method.__name__: np.where(
                (
                    crossed := np.nan_to_num(
                        method(old, new, float(arrays["alpha"]), float(arrays["scale"]))
                    ).astype(bool)
                    & enough
                ).any(axis=0),
                crossed.argmax(axis=0),
                -1,
            )
            for method in (growthbook, confseq, msprt)
        }
    np.savez(sys.argv[2], **found)


main()
