"""Work in a thread of its own, again and again, and at once when asked for."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)


class Periodic:
    """Repeats a piece of work until it is stopped; nothing that the work raises ends it.

    Args:
        name: of the thread.
        every: seconds from one end of the work to its next beginning.
        work: what to do; it handles the failures that it foresees.
    """

    def __init__(self, name: str, every: float, work: Callable[[], None]) -> None:
        self._every = every
        self._work = work
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin, with the first piece of work at once."""
        self._thread.start()

    def wake(self) -> None:
        """Do not wait for the next turn."""
        self._wake.set()

    def stop(self) -> None:
        """End, once the work under way has ended."""
        self._stopping = True
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            self._wake.clear()
            if self._stopping:
                return
            try:
                self._work()
            except Exception:
                log.exception("%s failed in a way nobody foresaw, and goes on", self._thread.name)
            self._wake.wait(self._every)
