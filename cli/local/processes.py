"""Child processes that are waited for until ready, started again, and never left behind."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import httpx

from rollguard.errors import RollguardError

_PR_SET_PDEATHSIG = 1
_FIRST_DELAY_SECONDS = 1.0
_LONGEST_DELAY_SECONDS = 30.0
_STEADY_SECONDS = 60.0
_libc = ctypes.CDLL(None, use_errno=True)


class ProcessError(RollguardError):
    """A child process did not start, or ended by itself."""


class Child:
    """A server that runs as a child, in a session of its own, so that Ctrl-C reaches the parent alone.

    Args:
        name: as a person calls it.
        command: argument list.
        log: file for its output, appended to.
        ready: URL that answers 2xx when it is ready.
    """

    def __init__(self, name: str, command: Sequence[str], log: Path, ready: str) -> None:
        self.name, self.command, self.log, self.ready = name, list(command), log, ready
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its process number; 0 before the start."""
        return self._process.pid if self._process else 0

    def refuse_taken_port(self) -> None:
        """Refuse to start it where something else answers already, which would be taken for it.

        Raises:
            ProcessError: something listens at its address.
        """
        url = httpx.URL(self.ready)
        with socket.socket(socket.AF_INET6 if ":" in url.host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((url.host, url.port or 80))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:  # of anything else it tells itself
                    raise ProcessError(
                        f"{self.name} cannot listen on {url.netloc.decode()}: another process does.\n"
                        "  Stop that one, or give --free-ports."
                    ) from error

    def start(self) -> None:
        """Start it; if this process is killed, the kernel ends the child."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=partial(die_with_parent, os.getpid()),  # noqa: PLW1509 - no threads run yet that could hold a lock
            )

    def ended(self) -> int | None:
        """Return its exit code, or nothing while it runs."""
        return self._process.poll() if self._process else None

    def wait_until_ready(self, seconds: float) -> None:
        """Wait until it answers.

        Raises:
            ProcessError: it ended, or did not answer in time; with the end of its log.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            code = self.ended()
            if code is not None:
                raise ProcessError(f"{self.name} ended with code {code}:\n{self.tail()}")
            try:
                if httpx.get(self.ready, timeout=1.0, trust_env=False).is_success:
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.05)
        raise ProcessError(f"{self.name} was not ready within {seconds:g} s:\n{self.tail()}")

    def tail(self, lines: int = 10) -> str:
        """Return the last lines of its log."""
        try:
            text = self.log.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def kill(self) -> None:
        """End it at once (SIGKILL), as a fault would."""
        if self._process:
            self._process.kill()
            self._process.wait()

    def stop(self, seconds: float = 5.0) -> None:
        """Ask it to end, and make it end."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()


class Supervisor:
    """Starts a child again that ended by itself: after 1 s, then after twice as long each time, up to 30 s.

    Args:
        child: which runs.
        warn: told each end and each start, a line or more.
        clock: monotonic time, seconds.
    """

    def __init__(
        self, child: Child, warn: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._child, self._warn, self._clock = child, warn, clock
        self._started = clock()
        self._delay = _FIRST_DELAY_SECONDS
        self._due: float | None = None

    def look(self) -> None:
        """See whether it ended, and start it when it is time; to be called again and again."""
        code = self._child.ended()
        if code is None:
            return
        now = self._clock()
        if self._due is None:
            self._plan(now, code)
        elif now >= self._due:
            self._start(now)

    def _plan(self, now: float, code: int) -> None:
        if now - self._started >= _STEADY_SECONDS:
            self._delay = _FIRST_DELAY_SECONDS
        self._due = now + self._delay
        self._warn(
            f"{self._child.name} ended with code {code}, and is started again in {self._delay:g} s; "
            f"the end of {self._child.log}:\n{self._child.tail()}"
        )
        self._delay = min(2 * self._delay, _LONGEST_DELAY_SECONDS)

    def _start(self, now: float) -> None:
        self._due, self._started = None, now
        try:
            self._child.start()
        except OSError as error:
            self._warn(f"{self._child.name} cannot be started: {error}")
        else:
            self._warn(f"{self._child.name} is started again")


def free_port() -> int:
    """Return a TCP port on loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def die_with_parent(parent: int) -> None:
    """Have the kernel end this child when its parent ends; to be called before it becomes another program."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before it could be watched; in a container it may well be number 1
        os._exit(1)
