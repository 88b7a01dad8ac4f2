"""Runs an exporter: sources, checkpoint, metrics over HTTP, signals; or once, to the end of what there is."""

from __future__ import annotations

import gc
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from rollguard.errors import RollguardError
from rollguard.exporters.exposition.text import Exposition
from rollguard.exporters.runtime.checkpoint import CheckpointFile
from rollguard.exporters.runtime.follower import Exporter, Follower, Input
from rollguard.exporters.runtime.server import MetricsServer

_GRACE_SECONDS = 3.0
"""For a look that is under way when the exporter is to stop; a query that hangs is not waited for."""

_WAKING_SECONDS = 0.5


_KEPT_BYTES = 1 << 23
"""glibc gives the top of its heap back where that is larger than twice the largest block ever freed."""


class SourceError(RollguardError):
    """A source cannot be read, and nobody waits until it can."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How an exporter runs, whatever it watches.

    Args:
        listen: host:port of the metrics; port 0 takes a free one.
        checkpoint: where counters, windows and positions survive a restart.
        once: read to the end, print the metrics as of the newest event and stop, without a checkpoint.
    """

    listen: str
    checkpoint: Path
    once: bool = False


def run(
    exporter: Exporter,
    settings: Settings,
    *,
    clock: Callable[[], float] = time.time,
    stop: threading.Event | None = None,
    output: TextIO | None = None,
) -> int:
    """Run an exporter until it is stopped, by SIGTERM, SIGINT or `stop`.

    Args:
        exporter: which.
        settings: how.
        clock: Unix seconds.
        stop: set it to stop the exporter; it need not run in the main thread then.
        output: where `once` prints; None for standard output.
    Returns:
        The exit code, 0.
    Raises:
        ListenError: the address is taken.
        SourceError: with `once`, a source cannot be read.
    """
    _spare_memory()
    if settings.once:
        return _once(exporter, output or sys.stdout, clock)
    checkpoint = CheckpointFile(settings.checkpoint, exporter.name, exporter.version)
    follower = Follower(exporter, checkpoint, clock=clock)
    with (
        _stopped_by_signals(stop or threading.Event()) as stopped,
        MetricsServer(settings.listen, follower, f"Rollguard exporter: {exporter.title}"),
    ):
        _read(follower, stopped)
    follower.close()
    return 0


def _read(follower: Follower, stop: threading.Event) -> None:
    """Read every input in a thread of its own, so that none waits for another, until told to stop."""
    failures: list[BaseException] = []
    threads = [
        threading.Thread(
            target=_follow, args=(follower, one, stop, failures), name=one.source.name, daemon=True
        )
        for one in follower.inputs
    ]
    for thread in threads:
        thread.start()
    while not stop.wait(_WAKING_SECONDS):
        pass  # the kernel may give a signal to any thread, but Python handles it in this one, and only awake
    for thread in threads:
        thread.join(_GRACE_SECONDS)
    if failures:
        raise failures[0]


def _follow(
    follower: Follower, one: Input[Any], stop: threading.Event, failures: list[BaseException]
) -> None:
    try:
        while not stop.is_set():
            if not follower.step(one):
                stop.wait(one.source.poll_seconds)
    except BaseException as error:  # noqa: BLE001 - raised by the main thread, which ends the process
        failures.append(error)
        stop.set()


def _once(exporter: Exporter, output: TextIO, clock: Callable[[], float]) -> int:
    follower = Follower(exporter, None, clock=lambda: clock() if exporter.newest is None else exporter.newest)
    for one in follower.inputs:
        while follower.step(one):
            pass
        if not one.source.up:
            raise SourceError(f"{one.source}: cannot be read\n  The line above says why.")
    follower.finish()
    output.write(Exposition().text(follower.families()).decode())
    follower.close()
    return 0


def _spare_memory() -> None:
    """Have less time go into memory: a fifth of it for lines, a third for rows."""
    bytearray(_KEPT_BYTES)  # freed at once
    gc.freeze()  # modules and what else is there stays; nobody need look for it among the garbage


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
