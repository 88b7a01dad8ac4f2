"""What two saved baselines say of each other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from exporters.reference import FeatureBins, Reference
from exporters.screener_baseline import KIND, ScreenerBaseline
from exporters.statistics import Array, population_stability_index

MOVED_RATIO = 0.2
"""Of the old spread from the 10th to the 90th percentile: half a standard deviation, like a PSI of 0.3."""

MOVED_PSI = 0.3
_SHARES = np.arange(1, 10) / 10


class Difference(NamedTuple):
    """One thing that two baselines say.

    Args:
        what: its name.
        old: in the first; empty where it is not there.
        new: in the second.
        change: how far apart they are, for people.
        moved: whether that is much.
    """

    what: str
    old: str
    new: str
    change: str = ""
    moved: bool = False


def load(path: Path) -> Reference | ScreenerBaseline:
    """Return the baseline of a file, of either kind; raises RollguardError where it is none."""
    try:
        kind = msgspec.json.decode(path.read_bytes(), type=_Kind).kind
    except (OSError, ValueError, RecursionError):
        kind = ""
    return ScreenerBaseline.load(path) if kind == KIND else Reference.load(path)


def differences(old: Reference | ScreenerBaseline, new: Reference | ScreenerBaseline) -> list[Difference]:
    """Return what two baselines of one kind say; raises ValueError for two kinds."""
    match old, new:
        case Reference(), Reference():
            return list(_features(old, new))
        case ScreenerBaseline(), ScreenerBaseline():
            return list(_scans(old, new))
    raise ValueError("one is of features, the other of a screener")


def _features(old: Reference, new: Reference) -> Iterator[Difference]:
    for name in sorted({*old.features, *new.features}):
        before, after = old.features.get(name), new.features.get(name)
        if before is None or after is None:
            yield Difference(name, _shown(before), _shown(after), "only in one", True)
            continue
        first, second = _deciles(before), _deciles(after)
        spread = float(first[-1] - first[0])
        far = float(np.max(np.abs(second - first)))
        ratio = far / spread if spread else float(far > 0)
        change = f"a decile moved by {ratio:.2f} of the spread"
        yield Difference(name, _shown(before), _shown(after), change, ratio > MOVED_RATIO)


def _scans(old: ScreenerBaseline, new: ScreenerBaseline) -> Iterator[Difference]:
    for what in ("n", "ready"):
        yield Difference(what, str(getattr(old, what)), str(getattr(new, what)))
    for stat in old.scores | new.scores:
        yield Difference(stat, _number(old.scores.get(stat)), _number(new.scores.get(stat)))
    for rating in old.ratings | new.ratings:
        yield Difference(rating, str(old.ratings.get(rating, 0)), str(new.ratings.get(rating, 0)))
    if old.edges == new.edges:
        psi = population_stability_index(np.array(new.counts), np.array(old.counts))
        yield Difference(
            "scores", str(sum(old.counts)), str(sum(new.counts)), f"PSI {psi:.3f}", psi > MOVED_PSI
        )


def _deciles(bins: FeatureBins) -> Array:
    """The deciles of a histogram, straight lines between its edges."""
    cumulative = np.cumsum(bins.counts)[:-1] / sum(bins.counts)
    found: Array = np.interp(_SHARES, cumulative, bins.edges)
    return found


def _shown(bins: FeatureBins | None) -> str:
    if bins is None:
        return ""
    low, middle, high = np.interp([0.1, 0.5, 0.9], _SHARES, _deciles(bins))
    return f"{middle:.4g} ({low:.4g} to {high:.4g})"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


class _Kind(msgspec.Struct):
    kind: str = ""
