"""Running a command of a rollout file: no shell, a time limit, its last words kept."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from rollguard.durations import render
from rollguard.targets.interface import TargetError

OUTPUT_BYTES = 4096
"""What is kept of a command's output: its end."""


@dataclass(frozen=True)
class Runner:
    """Where and how long commands run.

    Args:
        root: their working folder.
        timeout: seconds, after which a command and its children are killed.
        environment: added to this process's own.
        on_start: is told which process runs, for `end_left_over`.
    """

    root: Path
    timeout: float
    environment: Mapping[str, str]
    on_start: Callable[[Mapping[str, Any]], None] = lambda _: None

    def run(self, arguments: Sequence[str]) -> str:
        """Run a command to its end, and return the end of what it printed.

        Args:
            arguments: the program, searched on PATH, and its arguments.
        Raises:
            TargetError: it cannot be started, takes too long, or does not end with 0.
        """
        with tempfile.TemporaryFile() as output:
            code = self._run(arguments, output)
            said = _end_of(output)
        if code is None:
            raise TargetError(_failure(arguments, f"takes over {render(self.timeout)}, and was killed", said))
        if code != 0:
            raise TargetError(_failure(arguments, f"ended with {code}", said))
        return said

    def _run(self, arguments: Sequence[str], output: IO[bytes]) -> int | None:
        try:
            process = subprocess.Popen(
                arguments,
                cwd=self.root,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise TargetError(f"{arguments[0]} cannot be started: {error}.") from error
        try:
            self.on_start({"pid": process.pid, "since": _start_of(process.pid)})
            return process.wait(self.timeout)
        except subprocess.TimeoutExpired:
            return None
        finally:
            if process.returncode is None:
                _kill(process.pid)
                process.wait()


def end_left_over(noted: object) -> None:
    """Kill a command that outlived whoever started it, as it would undo what comes after it.

    Args:
        noted: what `on_start` was told of it; nothing happens for anything else, nor once it has ended.
    """
    if isinstance(noted, Mapping) and noted.get("since") and noted["since"] == _start_of(noted.get("pid")):
        _kill(noted["pid"])


def _start_of(pid: object) -> str | None:
    """Return when a process began, which tells it from a later one with its number; None where it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _end_of(output: IO[bytes]) -> str:
    size = output.seek(0, os.SEEK_END)
    output.seek(max(0, size - OUTPUT_BYTES))
    return output.read().decode(errors="replace").strip()


def _failure(arguments: Sequence[str], what: str, said: str) -> str:
    last = said.rsplit("\n", 1)[-1][:300]
    return f"{' '.join(arguments)} {what}{': ' + last if last else '.'}"
