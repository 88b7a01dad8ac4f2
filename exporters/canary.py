"""The exporter of a model canary: the executor's and the scorer's events, from a file, for Prometheus."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from prometheus_client import CollectorRegistry, generate_latest

from exporters.canary_measures import CanaryMeasures
from exporters.canary_state import VERSION
from exporters.checkpoint import CheckpointFile
from exporters.follower import Follower
from exporters.reference import Reference
from exporters.serving import MetricsServer
from exporters.sources import FileSource
from rollguard.errors import RollguardError

NAME = "canary"


class EventsError(RollguardError):
    """The events file cannot be read."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How the exporter runs.

    Args:
        events: the file of JSON lines; it may appear later, grow, rotate and be truncated.
        listen: host:port of the metrics; port 0 takes a free one.
        reference: the saved reference of the served features; None for no drift.
        window_seconds: length of the rolling windows, in event time.
        min_sample: values of a feature below which its drift is not shown.
        checkpoint: where counters and windows survive a restart; None for `EVENTS.rollguard-checkpoint`.
        poll_seconds: between two looks at a file that has nothing new.
        once: read to the end, print the metrics as of the newest event and stop, without a checkpoint.
    """

    events: Path
    listen: str = "127.0.0.1:9841"
    reference: Path | None = None
    window_seconds: float = 1800.0
    min_sample: int = 300
    checkpoint: Path | None = None
    poll_seconds: float = 0.1
    once: bool = False


def run(
    options: Options,
    *,
    clock: Callable[[], float] = time.time,
    stop: threading.Event | None = None,
    output: TextIO | None = None,
) -> int:
    """Run the exporter until it is stopped, by SIGTERM, SIGINT or `stop`.

    Args:
        options: how.
        clock: Unix seconds.
        stop: set it to stop the exporter; it need not run in the main thread then.
        output: where `once` prints; None for standard output.
    Returns:
        The exit code, 0.
    Raises:
        ReferenceError: the reference cannot be read.
        ListenError: the address is taken.
        EventsError: with `once`, the events cannot be read.
    """
    measures = _measures(options, clock)
    if options.once:
        return _once(options.events, measures, output or sys.stdout, clock)
    name = options.events.name + ".rollguard-checkpoint"
    path = options.checkpoint or options.events.with_name(name)
    follower = Follower(
        FileSource(options.events), measures, CheckpointFile(path, NAME, VERSION), clock=clock
    )
    title = "Rollguard exporter: model canary"
    with (
        _stopped_by_signals(stop or threading.Event()) as stopped,
        MetricsServer(options.listen, follower, follower.behind, title),
    ):
        while not stopped.is_set():
            if not follower.step():
                stopped.wait(options.poll_seconds)
    follower.close()
    return 0


def _measures(options: Options, clock: Callable[[], float]) -> CanaryMeasures:
    return CanaryMeasures(
        window_seconds=options.window_seconds,
        reference=Reference.load(options.reference) if options.reference else None,
        min_sample=options.min_sample,
        clock=clock,
    )


def _once(events: Path, measures: CanaryMeasures, output: TextIO, clock: Callable[[], float]) -> int:
    def end() -> float:
        return clock() if measures.newest is None else measures.newest

    source = FileSource(events)
    follower = Follower(source, measures, None, clock=end)
    while follower.step():
        pass
    if not source.present:
        raise EventsError(f"{events}: cannot be read\n  Name a file of events, one JSON object per line.")
    follower.finish()
    registry = CollectorRegistry(auto_describe=False)
    registry.register(follower)
    output.write(generate_latest(registry).decode())
    follower.close()
    return 0


@contextmanager
def _stopped_by_signals(stop: threading.Event) -> Iterator[threading.Event]:
    """Have SIGTERM and SIGINT set an event; only the main thread may say so."""
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    signals = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, lambda *_: stop.set()) for number in signals]
    try:
        yield stop
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
