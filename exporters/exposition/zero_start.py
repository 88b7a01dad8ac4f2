"""Counters whose labels come later: Prometheus sees no increase in a series that begins at 1."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from rollguard.exporters.exposition.families import Family, Histogram, Labels


class ZeroStart:
    """Shows each new series of a counter or histogram at zero once, before its value.

    What is there at the first scrape is not new: an earlier process has shown it, or it is from before
    anybody looked.
    """

    def __init__(self) -> None:
        self._seen: dict[str, set[Labels]] | None = None

    def shown(self, families: Iterable[Family]) -> list[Family]:
        """Return the families as a scrape is to see them.

        Args:
            families: as they are.
        """
        found = list(families)
        if self._seen is None:
            self._seen = {family.metric.name: set(family.samples) for family in found if _counts(family)}
            return found
        return list(self._zeroed(found, self._seen))

    @staticmethod
    def _zeroed(families: list[Family], seen: dict[str, set[Labels]]) -> Iterator[Family]:
        for family in families:
            known = seen.setdefault(family.metric.name, set()) if _counts(family) else family.samples.keys()
            if not (new := family.samples.keys() - known):
                yield family
                continue
            seen[family.metric.name] |= new
            samples: Mapping[Labels, Any] = family.samples
            yield replace(family, samples={**samples, **{labels: _zero(samples[labels]) for labels in new}})


def _counts(family: Family) -> bool:
    return family.metric.type in {"counter", "histogram"}


def _zero(value: float | Histogram | None) -> float | Histogram | None:
    if isinstance(value, Histogram):
        return Histogram(value.bounds, [0.0] * len(value.counts), 0.0)
    return None if value is None else 0.0
