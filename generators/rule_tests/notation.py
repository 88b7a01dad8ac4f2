"""promtool's notation of series: read into one value for each step, and written as short as it gets."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import TypeAlias

STALE = "stale"
"""What a failed scrape leaves behind."""

Sample: TypeAlias = float | str | None
"""A value, `STALE`, or nothing."""

_NUMBER = r"[-+]?(?:[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?|[0-9]+\.|Inf|NaN)"
_ITEM = re.compile(rf"(?P<first>{_NUMBER})(?P<step>[-+](?![-+]){_NUMBER})?(?:x(?P<times>[0-9]+))?")
_NOTHING = re.compile(r"_(?:x(?P<times>[0-9]+))?")
_TOLERANCE = 1e-12

MOST_STEPS = 1_000_000
"""So many samples a series may have, and so many intervals a test may last."""


def expanded(text: str) -> list[Sample]:
    """Return one sample for each step.

    Args:
        text: promtool's notation, such as ``0x4 7+1x10 _x3 stale``.
    Raises:
        ValueError: it is none.
    """
    return [sample for item in text.split() for sample in _item(item)]


def require_notation(text: str) -> None:
    """Raise ValueError where a text is not promtool's notation, or has more than `MOST_STEPS` samples."""
    total = 0
    for item in text.split():
        match = _NOTHING.fullmatch(item) or _matched(item)
        total += int((match["times"] or "0")[:20]) + 1 if match else 1
    if total > MOST_STEPS:
        raise ValueError(f"a series of {total:,} samples, expected {MOST_STEPS:,} at most")


def _matched(item: str) -> re.Match[str] | None:
    """Return the parts of an item; None of `STALE`."""
    match = _ITEM.fullmatch(item)
    if match is None and item != STALE:
        raise ValueError(f"{item} is not promtool's notation of a series")
    return match


def differ(one: Sample, other: Sample) -> bool:
    """Return whether two samples differ; NaN does not from NaN."""
    return one != other and (one == one or other == other)  # noqa: PLR0124


def _item(item: str) -> Iterator[Sample]:
    if item.startswith("_"):
        yield from [None] * int(item[2:] or 1)
        return
    match = _matched(item)
    if match is None:
        yield STALE
        return
    value, step = float(match["first"]), float(match["step"] or 0)
    for _ in range(int(match["times"] or 0) + 1):
        yield value
        value += step  # as promtool does, so that rounding errors agree


def shortened(samples: Sequence[Sample]) -> str:
    """Return samples in promtool's notation: what repeats or rises evenly as one item."""
    items, position = [], 0
    while position < len(samples):
        length = _run(samples, position)
        items.append(_written(samples[position : position + length]))
        position += length
    return " ".join(items)


def _run(samples: Sequence[Sample], start: int) -> int:
    """Return how many samples from a place on make one item."""
    first = samples[start]
    end = start + 1
    # What is not finite, promtool repeats no more than a marker of staleness.
    if first == STALE or (isinstance(first, float) and not math.isfinite(first)):
        return 1
    if first is None or not isinstance(first, float) or samples[end : end + 1] == [first]:
        while end < len(samples) and samples[end] == first:
            end += 1
        return end - start
    step = _difference(samples, end)
    while step is not None and end < len(samples):
        value = samples[end]
        expected = first + step * (end - start)
        if not isinstance(value, float) or abs(value - expected) > _TOLERANCE * max(1.0, abs(expected)):
            break
        end += 1
    return end - start if end - start > 2 else 1


def _difference(samples: Sequence[Sample], place: int) -> float | None:
    one, other = samples[place - 1], samples[place] if place < len(samples) else None
    return other - one if isinstance(one, float) and isinstance(other, float) else None


def _written(run: Sequence[Sample]) -> str:
    first = run[0]
    if not isinstance(first, float):
        text = first or "_"
        return text if len(run) == 1 else f"{text}x{len(run)}"
    if not math.isfinite(first):
        return "NaN" if math.isnan(first) else f"{first:+}".title()
    if len(run) == 1:
        return f"{first:.12g}"
    step = _difference(run, 1) or 0.0
    return f"{first:.12g}{f'{step:+.12g}' if step else ''}x{len(run) - 1}"
