"""What an exporter offers: a metric described once, for those who serve it and those who read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

MetricType: TypeAlias = Literal["gauge", "counter", "histogram"]


@dataclass(frozen=True)
class Metric:
    """One metric as it is offered to Prometheus.

    Args:
        name: in full, as a query names it; a counter's ends in `_total`, a histogram's lacks `_bucket`.
        type: gauge, counter or histogram.
        help: what it says, one sentence.
        labels: the names of its labels, but for `rollout` and what Prometheus adds.
        unit: of its values, such as seconds, ratio (0-1), nats, milliseconds; empty for plain numbers.
    """

    name: str
    type: MetricType
    help: str
    labels: tuple[str, ...] = ()
    unit: str = ""

    @property
    def series(self) -> tuple[str, ...]:
        """The names that a query may select."""
        if self.type == "histogram":
            return tuple(f"{self.name}{suffix}" for suffix in ("_bucket", "_count", "_sum"))
        return (self.name,)
