"""What exporters of events have in common: lines in, tallies by metric, a checkpoint of both."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

import msgspec

from rollguard.exporters.exposition.families import Family
from rollguard.exporters.measures.accumulators import Accumulator, restore
from rollguard.exporters.measures.evidence import Evidence, EvidenceState
from rollguard.exporters.runtime.follower import Input
from rollguard.exporters.runtime.intake import Intake, IntakeState, Timed
from rollguard.exporters.sources.interface import Block, Source

Event = TypeVar("Event", bound=Timed)


class EventsState(msgspec.Struct):
    """Everything that a checkpoint of such an exporter holds.

    Args:
        intake: events and rejections.
        tallies: state by the metric's name.
        arms: outcomes by arm.
    """

    intake: IntakeState
    tallies: dict[str, msgspec.Raw]
    arms: EvidenceState | None = None


class EventExporter(ABC, Generic[Event]):
    """An exporter of events: a subclass names itself and says what an event moves.

    Args:
        source: of the events.
        intake: decodes and counts them.
        tallies: what the events move, in the order in which it is shown.
        evidence: what they move by arm; None where there are no arms.
    """

    name: str
    title: str
    version: int = 1

    def __init__(
        self,
        source: Source[Block],
        intake: Intake[Event],
        tallies: Sequence[Accumulator],
        evidence: Evidence | None = None,
    ) -> None:
        self._source = source
        self._intake = intake
        self._tallies = tallies
        self._evidence = evidence

    @abstractmethod
    def take(self, event: Event, late: bool) -> None:
        """Let an event move what it moves.

        Args:
            event: one that was accepted.
            late: whether no window can hold it.
        """

    @property
    def newest(self) -> float | None:
        """Unix seconds of the newest event; None before the first."""
        return self._intake.state.newest

    def inputs(self) -> tuple[Input[Block]]:
        """Return the one input: the events."""
        return (Input(self._source, self.feed),)

    def feed(self, block: Block) -> None:
        """Take some lines in."""
        for event, late in self._intake.take(block):
            self.take(event, late)

    def families(self, end: float) -> Iterator[Family]:
        """Yield fresh metrics, windows ending at `end` (Unix seconds)."""
        for tally in self._tallies:
            yield tally.family(end)
        if self._evidence:
            yield from self._evidence.families(end)
        yield from self._intake.families()

    def save(self) -> bytes:
        """Return everything that is known, as JSON."""
        tallies = {tally.metric.name: msgspec.Raw(_json(tally.state())) for tally in self._tallies}
        arms = self._evidence.state() if self._evidence else None
        return _json(EventsState(self._intake.state, tallies, arms))

    def restore(self, state: bytes) -> None:
        """Go on from what `save` returned; a metric that it does not name begins afresh.

        Raises:
            ValueError: it is something else; nothing is known then.
        """
        found = msgspec.json.decode(state, type=EventsState)
        restore(self._tallies, found.tallies)
        if self._evidence:
            try:
                self._evidence.restore(found.arms)
            except ValueError:
                restore(self._tallies, {})
                raise
        self._intake.restore(found.intake)


def _json(value: object) -> bytes:
    return msgspec.json.encode(value)
