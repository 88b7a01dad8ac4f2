"""Moments: ISO 8601 with a time zone at the edge, Unix seconds inside."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, Field


def seconds(text: str) -> int:
    """Return the Unix seconds of a moment such as ``2026-01-05T09:00:00+01:00``.

    Raises:
        ValueError: it is none, or has no time zone.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ValueError("expected a moment with its time zone, such as 2026-01-05T09:00:00+01:00")
    return int(moment.timestamp())


def _checked(text: str) -> str:
    seconds(text)
    return text


Instant = Annotated[
    str, AfterValidator(_checked), Field(json_schema_extra={"examples": ["2026-01-05T09:00:00+01:00"]})
]
"""A field of the rollout file, kept as it is written."""
