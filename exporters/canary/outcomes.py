"""What becomes of trades, orders and scores: win rate, fill rate, markouts, the spread of scores."""

from __future__ import annotations

import math
from typing import NamedTuple

MIN_SAMPLE = 20
"""Events in a window below which a rate or a mean of them says more of chance than of a model.

At 20 a rate has a standard error of up to 0.11: a fill rate of one half reads below 0.25 once in fifty looks.
"""


class Moments(NamedTuple):
    """Where numbers lie, and how far apart.

    Args:
        mean: in their unit.
        std: standard deviation of the population, in their unit.
    """

    mean: float
    std: float


def win_rate(won: float, closed: float, min_sample: int = MIN_SAMPLE) -> float | None:
    """Return the share of closed trades that earned money after fees.

    Args:
        won: trades, of the closed ones.
        closed: trades.
        min_sample: closed trades below which nothing is said.
    Returns:
        A ratio in 0-1, or None.
    """
    return won / closed if closed >= max(1, min_sample) else None


def fill_rate(filled: float, cancelled: float, min_sample: int = MIN_SAMPLE) -> float | None:
    """Return the share of ended orders that were filled.

    Args:
        filled: orders.
        cancelled: orders; what is still open is neither.
        min_sample: ended orders below which nothing is said.
    Returns:
        A ratio in 0-1, or None.
    """
    return win_rate(filled, filled + cancelled, min_sample)


def cancel_to_fill(cancelled: float, filled: float, min_sample: int = MIN_SAMPLE) -> float | None:
    """Return how many orders were cancelled for each one that was filled.

    Args:
        cancelled: orders.
        filled: orders.
        min_sample: ended orders below which nothing is said.
    Returns:
        A ratio from 0 on, infinite where none was filled, or None.
    """
    if cancelled + filled < max(1, min_sample):
        return None
    return cancelled / filled if filled else math.inf


def mean_markout(total: float, fills: float, min_sample: int = MIN_SAMPLE) -> float | None:
    """Return the mean move of the price after a fill, in the trade's favour where positive.

    Args:
        total: sum of the markouts, in the producer's unit, such as basis points.
        fills: how many.
        min_sample: fills below which nothing is said.
    Returns:
        A mean in that unit, or None.
    """
    return total / fills if fills >= max(1, min_sample) else None


def moments(n: float, total: float, squares: float) -> Moments | None:
    """Return mean and standard deviation of numbers in 0-1, from sums that add up over time.

    Args:
        n: how many.
        total: their sum.
        squares: sum of their squares.
    Returns:
        Both; None of no numbers. The deviation is exact to 1e-12 above 0.001; one of 0 may read up to 1e-7.
    """
    if not n:
        return None
    mean = total / n
    return Moments(mean, math.sqrt(max(0.0, squares / n - mean * mean)))
