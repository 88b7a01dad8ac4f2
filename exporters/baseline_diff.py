"""What two saved baselines say of each other, or of the events that came since."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, TypeAlias

import msgspec
import numpy as np

from rollguard.exporters.canary.served import Rows, rows_of
from rollguard.exporters.measures.distances import (
    Array,
    histogram,
    kolmogorov_smirnov,
    kolmogorov_smirnov_of_values,
    population_stability_index,
)
from rollguard.exporters.measures.reference import MIN_ROWS, FeatureBins, Reference
from rollguard.exporters.screener.baseline import KIND, ScreenerBaseline
from rollguard.exporters.sources.interface import MAX_LINE_BYTES

MOVED_RATIO = 0.2
"""Of the old spread from the 10th to the 90th percentile: half a standard deviation, like a PSI of 0.3."""

MOVED_PSI = 0.3
MOVED_KS = 0.2

Side: TypeAlias = Reference | ScreenerBaseline | Rows
"""What can be compared: a saved baseline of either kind, or the served features themselves."""

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


def side(path: Path) -> Side:
    """Return what a file holds to compare: a baseline, or a canary's events; raises RollguardError."""
    try:
        with path.open("rb") as file:
            is_events = bool(msgspec.json.decode(file.readline(MAX_LINE_BYTES), type=_Kind).event)
    except (OSError, ValueError, RecursionError):
        is_events = False
    return rows_of([path]) if is_events else load(path)


def differences(old: Side, new: Side) -> list[Difference]:
    """Return what two of one kind say; raises ValueError for two that cannot be compared."""
    match old, new:
        case Reference(), Reference():
            return list(_features(old, new))
        case Reference(), Rows():
            return list(_drift(old, new))
        case Rows(), Rows():
            return list(_drift(Reference.fit(old.columns, source=old.source, made_at=0.0), new, old.columns))
        case ScreenerBaseline(), ScreenerBaseline():
            return list(_scans(old, new))
        case Rows(), Reference():
            raise ValueError("the reference comes first, then the events")
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


def _drift(old: Reference, new: Rows, values: Mapping[str, Array] | None = None) -> Iterator[Difference]:
    """Yield the drift of rows against a reference; KS is exact where its values are there, too."""
    for name in sorted({*old.features, *new.columns}):
        before = old.features.get(name)
        if before is None or name not in new.columns:
            yield Difference(name, _shown(before), "", "only in one", True)
            continue
        found = _finite(new.columns[name])
        counts = histogram(found, np.array(before.edges))
        after = _shown(FeatureBins(before.edges, counts.tolist())) if len(found) else ""
        if len(found) < MIN_ROWS:
            yield Difference(name, _shown(before), after, f"{len(found)} values, too few to compare")
            continue
        reference = np.array(before.counts)
        psi = population_stability_index(counts, reference)
        ks = kolmogorov_smirnov(counts, reference)
        if values is not None:
            ks = kolmogorov_smirnov_of_values(found, np.sort(_finite(values[name])))
        moved = psi > MOVED_PSI or ks > MOVED_KS
        yield Difference(name, _shown(before), after, f"PSI {psi:.3f}, KS {ks:.3f}", moved)


def _finite(column: Array) -> Array:
    kept: Array = column[np.isfinite(column)]
    return kept


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
    event: str = ""
