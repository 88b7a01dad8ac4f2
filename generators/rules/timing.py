"""Time scaling: an hour of a rollout in a minute of the clock, with the same rules."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rollguard import durations
from rollguard.conventions import MIN_INTERVAL_SECONDS

LOOKBACK_INTERVALS = 4
"""How many scrape intervals an expression looks back, so that a failed scrape resolves nothing."""


@dataclass(frozen=True)
class Timing:
    """The durations of one rollout as they are rendered.

    Args:
        scale: what every duration is divided by, >= 1.
        base_interval: scrape and evaluation interval before scaling, seconds.
    """

    scale: float = 1.0
    base_interval: float = 15.0

    @property
    def interval(self) -> float:
        """Scrape and evaluation interval, seconds."""
        return self.seconds(self.base_interval)

    @property
    def lookback(self) -> float:
        """How far `last_over_time` looks, seconds."""
        return LOOKBACK_INTERVALS * self.interval

    def seconds(self, duration: float) -> float:
        """Return a duration scaled, in seconds, to the millisecond; not below 200 ms, but 0 stays 0."""
        if duration <= 0:
            return 0.0
        return max(round(duration / self.scale, 3), MIN_INTERVAL_SECONDS)

    def text(self, duration: float) -> str:
        """Return a duration scaled, in Prometheus's form."""
        return durations.render(self.seconds(duration))

    def steps(self, seconds: float) -> int:
        """Return how many whole intervals cover a time that is scaled already."""
        return math.ceil(round(seconds / self.interval, 6))
