"""The exporter of a model canary: the executor's and the scorer's events, for Prometheus."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from rollguard.exporters.canary.exporter import CanaryMeasures
from rollguard.exporters.measures.reference import Reference
from rollguard.exporters.sources.events import events_source

LISTEN = "127.0.0.1:9841"


def canary(
    events: str,
    *,
    reference: Path | None = None,
    window_seconds: float = 1800.0,
    min_sample: int = 300,
    clock: Callable[[], float] = time.time,
) -> CanaryMeasures:
    """Return the exporter of a model canary.

    Args:
        events: a path or a pattern of JSON lines, or the address of a Redis stream.
        reference: the saved reference of the served features; None for no drift.
        window_seconds: length of the rolling windows, in event time.
        min_sample: values of a feature below which its drift is not shown.
        clock: Unix seconds.
    Raises:
        ReferenceError: the reference cannot be read.
        StreamError: an address names no stream.
    """
    return CanaryMeasures(
        events_source(events),
        window_seconds=window_seconds,
        reference=Reference.load(reference) if reference else None,
        min_sample=min_sample,
        clock=clock,
    )
