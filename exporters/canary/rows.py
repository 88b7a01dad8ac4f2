"""Scores decoded with their features as rows in the order of a reference: dicts would take twice as long."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from itertools import chain
from operator import or_
from typing import Any, get_args

import msgspec
import numpy as np

from rollguard.exporters.canary.events import Event, Number, Score, Scored
from rollguard.exporters.measures.distances import Array

MAX_UNKNOWN = 1000
"""Names besides the reference's that are learnt; values of later ones are not counted."""


class RowDecoder:
    """Decodes the events of a model canary; its scores have `features` that `rows` makes an array of.

    Args:
        names: features in the order of a row.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)
        self._unknown: list[str] = []
        self._dicts = msgspec.json.Decoder(Event)
        self.score_kinds: set[type[Any]] = set()
        """The types of the scores: to ask for one takes a tenth of what isinstance takes."""
        self._build()

    def decode(self, line: bytes) -> Any:
        """Return the event of a line.

        Raises:
            ValueError: it is none.
        """
        try:
            return self._decoder.decode(line)
        except msgspec.ValidationError:
            event = self._dicts.decode(line)
        if isinstance(event, Score):
            self._learn(event)
        return self._decoder.decode(line)

    def decode_lines(self, lines: bytes) -> list[Any]:
        """Return the events of some lines.

        Raises:
            ValueError: one of them is none, or has a feature that is not known yet.
        """
        return self._decoder.decode_lines(lines)

    def rows(self, scores: Sequence[Any]) -> tuple[Array, int]:
        """Return the features of scores, and how many values they have of features beside the names.

        Args:
            scores: as decoded.
        Returns:
            Values, shape (scores, names), NaN where missing; and the count.
        """
        rows = [msgspec.structs.astuple(score.features) for score in scores]
        unknown = 0
        if self._unknown:
            width = len(self._names)
            unknown = sum(len(row) - width - row[width:].count(None) for row in rows)
            rows = [row[:width] for row in rows]
        values = np.fromiter(chain.from_iterable(rows), np.float64, len(rows) * len(self._names))
        return values.reshape(len(rows), len(self._names)), unknown

    def _learn(self, score: Score) -> None:
        known = {*self._names, *self._unknown}
        self._unknown += [name for name in score.features if name not in known]
        self._build()

    def _build(self) -> None:
        self._unknown = self._unknown[:MAX_UNKNOWN]
        names = [*self._names, *self._unknown]
        fields = [(f"f{number}", Number | None, None) for number in range(len(names))]
        features = msgspec.defstruct(
            "Features",
            fields,
            rename=dict(zip((name for name, *_ in fields), names, strict=True)),
            forbid_unknown_fields=bool(self._names) and len(self._unknown) < MAX_UNKNOWN,
            frozen=True,
            gc=False,
        )
        score = msgspec.defstruct(
            "Score",
            [("features", features, features())],
            bases=(Scored,),
            tag="score",
            kw_only=True,
            frozen=True,
            gc=False,
        )
        self.score_kinds.add(score)
        kinds = [score if kind is Score else kind for kind in get_args(Event)]
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(reduce(or_, kinds))
