"""The served features of a stretch of events, and the reference that is taken from a good one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from rollguard.exporters.canary.events import KINDS, Event, Score
from rollguard.exporters.measures.distances import Array
from rollguard.exporters.measures.reference import Reference, ReferenceError
from rollguard.exporters.runtime.decoding import LineDecoder, Rejections

_BLOCK_BYTES = 1 << 22


class Rows(NamedTuple):
    """The features that were served, as they were.

    Args:
        source: where they come from, for people.
        columns: values by feature, shape (rows,) each; NaN is missing.
        window: Unix seconds of the first and the last row.
    """

    source: str
    columns: dict[str, Array]
    window: tuple[float, float]


def rows_of(paths: Iterable[Path], *, variant: str | None = None) -> Rows:
    """Return the features that the live path fed to a model.

    Args:
        paths: files of events, as docs/events.md describes them.
        variant: only scores that this variant served, `candidate` or `active`; None for all.
    Raises:
        ReferenceError: a file cannot be read, or no score has features.
    """
    named = tuple(paths)
    try:
        scores = [score for score in _scores(named) if variant in (None, score.served)]
    except OSError as error:
        raise ReferenceError(f"{error.filename}: cannot be read: {error.strerror}") from error
    rows = [score.features for score in scores]
    names = sorted({name for row in rows for name in row})
    if not names:
        raise ReferenceError("the events hold no score of slot active with features\n  See docs/events.md.")
    columns = {name: np.array([_number(row.get(name)) for row in rows]) for name in names}
    times = [score.ts for score in scores]
    return Rows(", ".join(path.name for path in named), columns, (min(times), max(times)))


def reference_of(paths: Iterable[Path], *, variant: str | None, made_at: float) -> Reference:
    """Return the reference of the features that the live path fed to a model.

    Args:
        paths: files of events.
        variant: only scores that this variant served; None for all.
        made_at: Unix seconds.
    Raises:
        ReferenceError: as for `rows_of`, or the scores have too few features.
    """
    rows = rows_of(paths, variant=variant)
    source = rows.source if variant is None else f"{rows.source}, served by {variant}"
    return Reference.fit(rows.columns, source=source, made_at=made_at, window=rows.window)


def _scores(paths: Iterable[Path]) -> Iterator[Score]:
    decoder = LineDecoder(msgspec.json.Decoder(Event), frozenset(KINDS), Rejections())
    for path in paths:
        with path.open("rb") as file:
            while lines := file.readlines(_BLOCK_BYTES):
                events, _ = decoder.decode(b"".join(lines))
                yield from (
                    event
                    for event in events
                    if isinstance(event, Score) and event.slot == "active" and event.features
                )


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
