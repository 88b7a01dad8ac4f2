"""Durations: Prometheus's form (``1h30m``) at the edge, seconds inside."""

from __future__ import annotations

import re

_MINUTE, _HOUR, _DAY = 60_000, 3_600_000, 86_400_000
_UNITS = {"y": 365 * _DAY, "w": 7 * _DAY, "d": _DAY, "h": _HOUR, "m": _MINUTE, "s": 1000, "ms": 1}
_PATTERN = "".join(f"(?:([0-9]+){unit})?" for unit in _UNITS)
_LONGEST = (1 << 63) // 1_000_000
"""Prometheus counts nanoseconds in 64 bits: 292 years, here in milliseconds."""

_DURATION = re.compile(_PATTERN)


def parse(text: str) -> float:
    """Return the seconds of a duration in Prometheus's form.

    Args:
        text: such as ``15s``, ``1h30m`` or ``500ms``; ``0`` needs no unit.
    Returns:
        Seconds, >= 0.
    Raises:
        ValueError: the text is in another form (``0.5s``, ``90``, ``1m1h``).
    Source: https://prometheus.io/docs/prometheus/latest/configuration/configuration/ (``<duration>``).
    """
    if text == "0":
        return 0.0
    match = _DURATION.fullmatch(text)
    if not text or match is None:
        raise ValueError("expected a duration such as 15s, 10m, 4h or 1h30m")
    amounts = zip(match.groups(), _UNITS.values(), strict=True)
    total = sum(int(amount[:25]) * unit for amount, unit in amounts if amount)
    if total > _LONGEST:
        raise ValueError("expected a duration of at most 292 years")
    return total / 1000


def render(seconds: float) -> str:
    """Return seconds in Prometheus's form, rounded to the millisecond.

    Days are the largest unit, as a person reads ``14d`` more easily than ``2w``.

    Args:
        seconds: a finite number >= 0.
    Returns:
        The shortest mixed form: ``1h30m``, ``250ms``; ``0s`` for nothing.
    """
    rest = round(seconds * 1000)
    parts = []
    for unit in ("d", "h", "m", "s", "ms"):
        amount, rest = divmod(rest, _UNITS[unit])
        if amount:
            parts.append(f"{amount}{unit}")
    return "".join(parts) or "0s"
