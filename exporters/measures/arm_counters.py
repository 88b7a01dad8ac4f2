"""Counters by arm and assigned percent: outcomes and assignments, from which evidence is read."""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from rollguard.exporters.exposition.families import Family, Labels
from rollguard.exporters.exposition.text import number_text
from rollguard.exporters.measures.distances import Array
from rollguard.exporters.measures.units import Counts
from rollguard.metric import Metric

SYMMETRIC = (-10.0, -5.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Edges where none are declared, of what may be of either sign."""

OK, ERROR = "ok", "error"
WON, LOST = "won", "lost"

_PLACE = ("arm", "assigned")


def bins(edges: Iterable[float]) -> tuple[str, ...]:
    """Return the outcomes of a value: the upper edges of the bins, as a histogram's `le` has them."""
    return (*map(number_text, edges), "+Inf")


class Heads(NamedTuple):
    """Labels before the arm.

    Args:
        names: theirs, such as rollout.
        values: for each of which there are counters.
    """

    names: Labels
    values: frozenset[Labels]


ALONE = Heads((), frozenset({()}))
"""No labels before the arm, as in an exporter of one rollout."""


class ArmCounter:
    """A counter by arm, assigned percent and outcome; each percent shows all its outcomes, from zero on.

    Args:
        name: its own.
        about: its help.
        outcomes: their labels, in the order in which they are numbered; of an assignment one without labels.
        names: of these labels.
        heads: labels before the arm.
        meaning: of the outcomes, where their labels do not tell it: with another one it starts at zero.
    """

    def __init__(
        self,
        name: str,
        about: str,
        outcomes: Sequence[Labels] = ((),),
        names: Labels = (),
        *,
        heads: Heads = ALONE,
        meaning: str = "",
    ) -> None:
        self.heads = heads.values
        self._width = len(heads.names) + len(_PLACE)
        self.metric = Metric(name, "counter", about, (*heads.names, *_PLACE, *names))
        self._outcomes = tuple(outcomes)
        self._digest = hashlib.sha256(msgspec.json.encode((self._outcomes, meaning))).hexdigest()[:16]
        self._counts: dict[Labels, list[float]] = {}

    @property
    def name(self) -> str:
        """Its metric's name."""
        return self.metric.name

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Its description."""
        return (self.metric,)

    def counters(self, counts: Counts) -> Iterator[ArmCounter]:
        """Yield itself where it takes an event in: once a run of a unit."""
        if counts.run:
            yield self

    def show(self, place: Labels) -> None:
        """Have a place's outcomes shown, at zero; its labels are those up to the percent."""
        if place not in self._counts:
            self._counts[place] = [0.0] * len(self._outcomes)

    def add(self, place: Labels, outcome: int, amount: float = 1.0) -> None:
        """Count an outcome, by its number."""
        self.show(place)
        self._counts[place][outcome] += amount

    def add_all(self, place: Labels, amounts: Array) -> None:
        """Count amounts of every outcome, shape (outcomes,)."""
        self.show(place)
        self._counts[place] = (amounts + self._counts[place]).tolist()

    def family(self, end: float) -> Family:
        """Return it as it stands."""
        shown = {
            (*place, *outcome): amount
            for place, amounts in self._counts.items()
            for outcome, amount in zip(self._outcomes, amounts, strict=True)
        }
        return Family(self.metric, shown)

    def state(self) -> ArmCounterState:
        """Return it for a checkpoint."""
        counts = [(list(place), amounts) for place, amounts in self._counts.items()]
        return ArmCounterState(self._digest, counts)

    def restore(self, state: msgspec.Raw | None) -> None:
        """Go on from a checkpoint; with other outcomes, as of other bins, it starts at zero."""
        found = msgspec.json.decode(state, type=ArmCounterState) if state else None
        self._counts = {}
        for place, amounts in found.counts if found and found.digest == self._digest else ():
            if len(place) == self._width and len(amounts) == len(self._outcomes):
                self._counts[tuple(place)] = amounts


class ArmCounterState(msgspec.Struct, frozen=True):
    """Such a counter, as it lies in a checkpoint.

    Args:
        digest: of its outcomes.
        counts: labels up to the percent, and amounts by outcome.
    """

    digest: str
    counts: list[tuple[list[str], list[float]]]


class ArmOutcomes:
    """Outcomes of one kind: over the run, where a unit counts once in it, and over windows, once in each.

    Args:
        what: is counted; the counters are called `<what>_outcomes_total` and `<what>_outcomes_window_total`.
        about: help of both.
        outcomes: as of an ArmCounter.
        names: as of an ArmCounter.
        heads: as of an ArmCounter.
    """

    def __init__(
        self,
        what: str,
        about: str,
        outcomes: Sequence[Labels],
        names: Labels = ("outcome",),
        heads: Heads = ALONE,
    ) -> None:
        shape = (outcomes, names)
        self.run = ArmCounter(f"{what}_outcomes_total", f"{about}; a unit once a run.", *shape, heads=heads)
        about = f"{about}; a unit once an hour."
        self.window = ArmCounter(f"{what}_outcomes_window_total", about, *shape, heads=heads)

    @property
    def metric(self) -> Metric:
        """The description of the counter over the run."""
        return self.run.metric

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The descriptions of both."""
        return self.run.metric, self.window.metric

    @property
    def name(self) -> str:
        """The name of the counter over the run."""
        return self.run.name

    @property
    def heads(self) -> frozenset[Labels]:
        """The values of the labels before the arm, of which it counts."""
        return self.run.heads

    def counters(self, counts: Counts) -> Iterator[ArmCounter]:
        """Yield the counters that take an event in."""
        if counts.run:
            yield self.run
        if counts.window:
            yield self.window


class Binned(ArmOutcomes):
    """Values by bin; one on an edge lies in the bin that ends there.

    Args:
        what: as of an ArmOutcomes.
        about: as of an ArmOutcomes.
        edges: ascending; the first and the last bin are open.
        heads: as of an ArmCounter.
    """

    def __init__(
        self,
        what: str,
        about: str,
        edges: Sequence[float],
        heads: Heads = ALONE,
    ) -> None:
        super().__init__(what, about, [(edge,) for edge in bins(edges)], heads=heads)
        self._edges = tuple(edges)

    def bin(self, value: float) -> int:
        """Return the number of a value's outcome."""
        return bisect_left(self._edges, value)
