"""Grafana's names of units."""

from __future__ import annotations

from collections.abc import Mapping

NUMBER = "short"
SHARE = "percentunit"
"""0-1, shown in percent."""
PERCENT = "percent"
SECONDS = "s"
PER_SECOND = "ops"
BYTES = "bytes"
MOMENT = "dateTimeAsIsoNoDateIfToday"
"""Milliseconds since 1970, shown as a time of day, of other days with their date."""

_NAMES: Mapping[str, str] = {
    "seconds": SECONDS,
    "ratio": SHARE,
    "percent": PERCENT,
    "bytes": BYTES,
    "milliseconds": "ms",
}


def unit_of(unit: str) -> str:
    """Return how Grafana calls the unit of a metric; a plain number where it knows none such."""
    return _NAMES.get(unit, NUMBER)
