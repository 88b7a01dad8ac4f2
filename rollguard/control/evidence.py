"""What a decision rested on, in words: the value, and the limit that it was held against."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def said(evidence: Mapping[str, Any]) -> str:
    """Return the evidence of a ledger entry as a line of text.

    Args:
        evidence: of the entry, as plain JSON data; what came from an alert may have any shape.
    Returns:
        What the alert of the guard said, or those of the guards that hold; of a promotion, the value of each
        criterion, or what a person passed over; empty where nothing was measured.
    """
    if description := _description(evidence):
        return description
    alerts = _mapping(evidence.get("alerts"))
    told = [f"{guard}: {text}" for guard, alert in alerts.items() if (text := _description(_mapping(alert)))]
    return " ".join(told) or "; ".join([*_criteria(evidence), *_skipped(evidence)])


def _description(alert: Mapping[str, Any]) -> str:
    return str(_mapping(alert.get("annotations")).get("description") or "")


def _criteria(evidence: Mapping[str, Any]) -> Iterator[str]:
    for one in evidence.get("criteria") or ():
        value = one["value"]
        measured = f"{value:.6g}" if isinstance(value, int | float) else "no data"
        yield f"{one['name']}: {measured} ({one['query']})"


def _skipped(evidence: Mapping[str, Any]) -> Iterator[str]:
    for what in evidence.get("skipped") or ():
        yield f"skipped {what}"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
