"""Families of series: metrics with their labels and values, as an exporter yields them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from rollguard.metric import Metric

Labels: TypeAlias = tuple[str, ...]


@dataclass(frozen=True)
class Histogram:
    """A histogram's value.

    Args:
        bounds: upper bounds of the buckets, ascending, without +Inf.
        counts: observations per bucket, not cumulative, one more than bounds: the last is beyond them.
        total: sum of the observations.
    """

    bounds: Sequence[float]
    counts: Sequence[float]
    total: float


@dataclass(frozen=True)
class Family:
    """One metric and all its samples of a moment.

    Args:
        metric: its description.
        samples: value by label values, in the order of the metric's labels; a Histogram for histograms. What
            is None is not shown. A label set that is not here vanishes.
        overflow: values that have no series of their own, as there are too many label sets; None where there
            is no such limit.
    """

    metric: Metric
    samples: Mapping[Any, float | None] | Mapping[Any, Histogram | None]
    overflow: float | None = None


def single(metric: Metric, value: float | None) -> Family:
    """Return a family of one series without labels; none at all where the value is None."""
    return Family(metric, {(): value})


def by_label(metric: Metric, values: Mapping[str, float | None]) -> Family:
    """Return a family with one label: value by label value."""
    return Family(metric, {(label,): value for label, value in values.items()})
