"""How much each counter series has increased since the last look, across resets and restored checkpoints."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import msgspec

from rollguard.monitoring.prometheus import Sample

MAX_SERIES = 2_000
"""A counter of more series is not judged: its labels have no bound."""

KEPT_SECONDS = 86_400.0
"""So long a series, or a target, that vanished may come back and go on where it was."""

Started: TypeAlias = Callable[[Mapping[str, str]], float | None]
"""When the series of some labels began to count, Unix seconds; None where nobody knows."""


class Seen(msgspec.Struct):
    """The greatest value that a series showed since its start, and when, Unix seconds."""

    value: float
    at: float


class Gained(NamedTuple):
    """What one series counted since the look before."""

    labels: Mapping[str, str]
    more: float


class CounterError(Exception):
    """What a counter shows is no count."""


def check(samples: Sequence[Sample]) -> None:
    """Refuse what is no count.

    Raises:
        CounterError: a value is none, or there are too many series.
    """
    if len(samples) > MAX_SERIES:
        raise CounterError(f"has {len(samples)} series, expected at most {MAX_SERIES}")
    for sample in samples:
        if not (math.isfinite(sample.value) and sample.value >= 0):
            raise CounterError(f"shows {sample.value}, expected a count")


class Counters(msgspec.Struct):
    """The last values of what one selector selects, by the series' labels as text."""

    seen: dict[str, Seen] = {}

    def gained(
        self, samples: Sequence[Sample], at: float, targets: Mapping[str, float], started: Started
    ) -> tuple[list[Gained], str]:
        """Return what each series counted since the look before, and remember what it shows.

        A new series counts in whole where its target was read before, as it was zero then, or where it
        started since. A value below the last is a reset only where the series started since; else it is a
        step back, of a checkpoint for one, and nothing counts until the old value is passed.

        Args:
            samples: of one instant query, checked.
            at: the moment of the query, Unix seconds.
            targets: when each target was last read, Unix seconds; none at the first look of all.
            started: tells when a series began.
        Returns:
            The increments; and which series fell for no known reason, in words, or nothing.
        """
        found, fell = [], ""
        last_look = max(targets.values(), default=math.inf)
        for sample in samples:
            key = msgspec.json.encode(sorted(sample.labels.items())).decode()
            before, value = self.seen.get(key), sample.value
            if before is None:
                known = target_of(sample.labels) in targets or (
                    bool(targets) and _since(started(sample.labels), last_look)
                )
                found.append(Gained(sample.labels, value if known else 0.0))
            elif value >= before.value:
                found.append(Gained(sample.labels, value - before.value))
            elif _since(start := started(sample.labels), before.at):
                found.append(Gained(sample.labels, value))
            else:
                found.append(Gained(sample.labels, 0.0))
                if start is None:
                    fell = f"fell from {before.value:g} to {value:g}"
                continue
            self.seen[key] = Seen(value, at)
        for key in [key for key, seen in self.seen.items() if seen.at < at - KEPT_SECONDS]:
            del self.seen[key]
        return found, fell


def created(name: str) -> str:
    """Return the name of the series that says when a counter, or a histogram's buckets, began."""
    return f"{name.removesuffix('_total').removesuffix('_bucket')}_created"


def _since(start: float | None, moment: float) -> bool:
    return start is not None and start > moment


def target_of(labels: Mapping[str, str]) -> str:
    """Return which target a series is of, as text."""
    return f"{labels.get('job', '')} {labels.get('instance', '')}"
