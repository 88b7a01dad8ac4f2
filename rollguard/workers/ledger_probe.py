"""The last probe of the ledger: who asks whether it can be used waits for no database."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rollguard.control.decisions import Clock
from rollguard.errors import RollguardError
from rollguard.ledger import Ledger

PROBE_SECONDS = 3.0
"""Between two probes."""

PATIENCE_SECONDS = 10.0
"""After so long a probe that has not come back counts as failed."""


@dataclass(frozen=True)
class Probed:
    """What a probe showed.

    Args:
        at: when it ended, Unix seconds.
        age: how long ago that was, seconds.
        problem: why the ledger cannot be read; empty where it can.
        writable: whether a write that changes nothing reached its disk.
        seq: number of its last entry, the last one known where it cannot be read.
        digest: hash of that entry.
    """

    at: float
    age: float
    problem: str
    writable: bool
    seq: int
    digest: str


class LedgerProbe:
    """Probes a ledger once at the beginning and then whenever `ask` is called, by one thread at a time.

    Args:
        ledger: open.
        clock: wall and monotonic time.
    """

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._last = Probed(clock.wall(), 0.0, "", True, *ledger.head())
        self._ended = clock.monotonic()
        self.ask()

    def ask(self) -> None:
        """Read the ledger, write to it what changes nothing, and keep how that went."""
        problem, writable, head = "", True, (self._last.seq, self._last.digest)
        try:
            self._ledger.check()
            head = self._ledger.head()
        except RollguardError as error:
            problem = str(error)
        try:
            self._ledger.probe()
        except RollguardError:
            writable = False
        self._last = Probed(self._clock.wall(), 0.0, problem, writable, *head)
        self._ended = self._clock.monotonic()

    def last(self) -> Probed:
        """Return what the last probe showed; while the next one hangs, that the ledger does not answer."""
        age = self._clock.monotonic() - self._ended
        last = replace(self._last, age=age)
        if age < PATIENCE_SECONDS:
            return last
        return replace(last, problem=f"the ledger has not answered for {age:.0f} s.", writable=False)
