"""How well probabilities keep their word: Brier score and expected calibration error."""

from __future__ import annotations

import math

import numpy as np

from rollguard.exporters.measures.distances import Array

BINS = 10
"""Equal-width bins of the probability."""


def brier_score(counts: Array, squares: Array) -> float:
    """Return the Brier score: the mean squared difference of probability and outcome, from sums per bin.

    Args:
        counts: values per bin, shape (bins,).
        squares: sum of (probability - outcome)² per bin, outcomes 0 or 1, shape (bins,).
    Returns:
        A number in 0-1, 0 is best; 0.25 is what a probability of one half always gets. NaN for no values.
    Source: Brier, Verification of forecasts expressed in terms of probability (1950), for one class as
        scikit-learn's brier_score_loss has it.
    """
    total = counts.sum()
    return float(squares.sum() / total) if total else math.nan


def calibration_bin(probability: float) -> int:
    """Return the bin of a probability, 0 to 9; one on an edge lies in the bin above it, 1 in the last."""
    return min(int(probability * BINS), BINS - 1)


def expected_calibration_error(counts: Array, probabilities: Array, outcomes: Array) -> float:
    """Return the expected calibration error of the positive class, from sums per bin.

    Args:
        counts: values per bin, shape (bins,).
        probabilities: sum of the probabilities per bin, shape (bins,).
        outcomes: sum of the outcomes per bin, shape (bins,).
    Returns:
        The mean distance of probability and frequency, weighted by the bins' shares; NaN for no values.
    Source: Naeini, Cooper and Hauskrecht, Obtaining well calibrated probabilities using Bayesian binning
        (2015). Of the event itself; the top-label form of classifiers is another number.
    """
    total = counts.sum()
    if not total:
        return math.nan
    return float(np.abs(probabilities - outcomes).sum() / total)


def calibration_noise(counts: Array, probabilities: Array) -> float:
    """Return the expected calibration error that a perfectly calibrated model shows by chance.

    Args:
        counts: values per bin, shape (bins,).
        probabilities: sum of the probabilities per bin, shape (bins,).
    Returns:
        The mean of |N(0, s²)|, s² = p (1 - p) / n of each bin, weighted by their shares; NaN for none.
    Source: the mean absolute value of a normal variable is s √(2/π); the outcomes of a bin are binomial.
    """
    total = counts.sum()
    if not total:
        return math.nan
    filled = counts > 0
    n, p = counts[filled], np.clip(probabilities[filled] / counts[filled], 0.0, 1.0)
    deviations = np.sqrt(p * (1 - p) / n)
    return float(np.sum(n * deviations) * math.sqrt(2 / math.pi) / total)
