"""The intake of events: what is decoded is judged by its time, counted, and handed on."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, get_args

import msgspec
import numpy as np

from rollguard.exporters.exposition.families import Family, by_label
from rollguard.exporters.measures.distances import Array
from rollguard.exporters.measures.windows import MAX_FUTURE_SECONDS
from rollguard.exporters.runtime.decoding import (
    FUTURE,
    LATE,
    REASONS,
    TOO_LONG,
    Decoder,
    LineDecoder,
    Rejections,
)
from rollguard.exporters.sources.interface import MAX_LINE_BYTES, Block
from rollguard.metric import Metric

EVENTS = Metric("rollguard_exporter_events_total", "counter", "Events accepted.", ("event",))
REJECTED = Metric(
    "rollguard_exporter_events_rejected_total",
    "counter",
    "Lines and events passed over; late ones are in counters, not in windows.",
    ("reason",),
)
METRICS = (EVENTS, REJECTED)

_TS = attrgetter("ts")


class Timed(Protocol):
    """What every event has: its time in Unix seconds."""

    @property
    def ts(self) -> float:
        """Unix seconds."""


Event = TypeVar("Event", bound=Timed)


class Batch(NamedTuple, Generic[Event]):
    """Events that were accepted.

    Args:
        events: in the order of their lines.
        times: their Unix seconds, shape (events,).
        late: whether no window can hold them, shape (events,).
    """

    events: list[Event]
    times: Array
    late: Array


class IntakeState(msgspec.Struct):
    """What was taken in, as it lies in a checkpoint.

    Args:
        events: accepted events by kind.
        rejected: lines and events passed over by reason; late ones count here and in `events`.
        newest: Unix seconds of the newest accepted event.
    """

    events: dict[str, int] = {}
    rejected: dict[str, int] = {}
    newest: float | None = None


class Intake(Generic[Event]):
    """Decodes lines, refuses events of the future, tells late ones, and counts them all.

    Args:
        event: union of the exporter's events, tagged structs with `ts`.
        window_seconds: an event is late when no window can hold it: older than this, and the minute by which
            clocks may differ, than the newest.
        clock: Unix seconds.
        decoder: of a line, where it is not simply one of `event`.
        timer: seconds of any steady clock.
    """

    def __init__(
        self,
        event: Any,
        window_seconds: float,
        clock: Callable[[], float],
        decoder: Decoder[Event] | None = None,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        kinds = get_args(event) or (event,)
        self._tags = frozenset(str(kind.__struct_config__.tag) for kind in kinds)
        self._rejections = Rejections()
        decoder = decoder or msgspec.json.Decoder(event)
        self._decoder = LineDecoder(decoder, self._tags, self._rejections)
        self._keep_seconds = window_seconds + MAX_FUTURE_SECONDS
        self._clock = clock
        self._timer = timer
        self._started = clock() - timer()
        self.restore(IntakeState())

    def take(self, block: Block) -> Iterator[tuple[Event, bool]]:
        """Yield the events of some lines, each with whether it is late for every window.

        Args:
            block: lines from a source.
        """
        batch = self.take_all(block)
        return zip(batch.events, batch.late.tolist(), strict=True)

    def take_all(self, block: Block) -> Batch[Event]:
        """Return the events of some lines, for those who add them up in arrays.

        Args:
            block: lines from a source.
        """
        events, rejected = self._decoder.decode(block.lines)
        rejected[TOO_LONG] += block.too_long
        if block.too_long:
            self._rejections.say(TOO_LONG, f"a line of over {MAX_LINE_BYTES} bytes")
        for reason, count in rejected.items():
            self.state.rejected[reason] += count
        times = np.fromiter(map(_TS, events), np.float64, len(events))
        return self._judge(events, times)

    def _judge(self, events: list[Event], times: Array) -> Batch[Event]:
        now = self._now()
        ahead = times > now + MAX_FUTURE_SECONDS
        if ahead.any():
            for index in np.flatnonzero(ahead):
                self._reject(FUTURE, f"its ts is {times[index]:.0f}; is it in milliseconds?", events[index])
            events = [event for event, refused in zip(events, ahead.tolist(), strict=True) if not refused]
            times = times[~ahead]
        for kind, count in Counter(map(type, events)).items():
            self.state.events[str(kind.__struct_config__.tag)] += count  # type: ignore[attr-defined]
        newest = -1.0 if self.state.newest is None else min(self.state.newest, now + MAX_FUTURE_SECONDS)
        running = np.maximum.accumulate(np.maximum(times, newest))
        late = times < running - self._keep_seconds
        for index in np.flatnonzero(late):
            text = f"its ts is {running[index] - times[index]:.0f} s before the newest"
            self._reject(LATE, text, events[index])
        if events:
            self.state.newest = float(running[-1])
        return Batch(events, times, late)

    def _now(self) -> float:
        """Unix seconds, but for a clock that was set back: its events are not of the future."""
        return max(self._clock(), self._started + self._timer())

    def restore(self, state: IntakeState) -> None:
        """Go on from a checkpoint; whatever it does not name begins at zero."""
        events = dict.fromkeys(self._tags, 0) | state.events
        rejected = dict.fromkeys(REASONS, 0) | state.rejected
        self.state = IntakeState(events, rejected, state.newest)

    def families(self) -> Iterator[Family]:
        """Yield the metrics of the intake, counters from zero on."""
        yield by_label(EVENTS, self.state.events)
        yield by_label(REJECTED, self.state.rejected)

    def _reject(self, reason: str, detail: str, event: Event) -> None:
        self.state.rejected[reason] += 1
        self._rejections.say(reason, detail, event)
