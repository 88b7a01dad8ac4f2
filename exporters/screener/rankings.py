"""What a screener's scan says beside its scores: gates, and how its ranking moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

TOP = 50


def top(scores: Mapping[str, float], size: int = TOP) -> tuple[str, ...]:
    """Return the symbols with the highest scores, best first; of equal ones the earlier name.

    Args:
        scores: by symbol, finite numbers.
        size: how many, at most.
    """
    return tuple(sorted(scores, key=lambda symbol: (-scores[symbol], symbol))[:size])


def overlap_ratio(newer: Sequence[str], older: Sequence[str]) -> float | None:
    """Return the share of a ranking that was in the one before.

    Args:
        newer: symbols, each once.
        older: the same.
    Returns:
        |newer ∩ older| / the size of the longer one, 0-1; None where either is empty.
    """
    if not newer or not older:
        return None
    return len(set(newer) & set(older)) / max(len(newer), len(older))


def shift_points(without: Mapping[str, float], with_: Mapping[str, float], size: int = TOP) -> float | None:
    """Return the mean absolute change of the score of those who led before.

    Args:
        without: composite score by symbol, of the scan without the engine.
        with_: of the scan with it.
        size: of the top of the scan without.
    Returns:
        Points; None where fewer than half of the leaders are in the other scan.
    """
    leaders = top(without, size)
    changes = [abs(with_[symbol] - without[symbol]) for symbol in leaders if symbol in with_]
    if not changes or 2 * len(changes) < len(leaders):
        return None
    return float(np.mean(changes))


def dominance(failures: Mapping[str, int]) -> dict[str, float]:
    """Return the share of each gate in all failures.

    Args:
        failures: by gate, symbols that failed it.
    Returns:
        Share by gate, 0-1, together 1; empty where nothing failed.
    """
    total = sum(failures.values())
    return {gate: count / total for gate, count in sorted(failures.items()) if total}


def is_pyramid(ratings: Mapping[str, int], order: Sequence[str]) -> bool:
    """Return whether each rating is rarer than the next one.

    Args:
        ratings: symbols by rating; none of a rating counts as 0.
        order: ratings, from the rarest to the most frequent.
    """
    counts = [ratings.get(rating, 0) for rating in order]
    return all(rarer < commoner for rarer, commoner in pairwise(counts))
