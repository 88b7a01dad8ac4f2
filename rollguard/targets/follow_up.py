"""What follows a change of a target: a restart of whoever reads it, and a look at what is in effect."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from rollguard.durations import render
from rollguard.spec.rollout import Rollout
from rollguard.spec.targets import LogLine, Then, Verify, VerifyCommand, VerifyHttp
from rollguard.state import State
from rollguard.targets import files
from rollguard.targets.calls import Caller
from rollguard.targets.interface import Lane, Target, TargetError, desired_position
from rollguard.targets.memory import Memory
from rollguard.targets.process import Runner


@dataclass(frozen=True)
class FollowedTarget:
    """A target with a restart after each change, and checks that must pass before it counts as applied.

    That a restart is due is noted before the change, so that one that a crash cut off is made up for.

    Args:
        target: what is changed.
        rollout: whose states they are.
        root: the folder of commands and logs.
        then: the restart; None for none.
        verify: the checks; None for none.
        memory: whether a restart is due, when the last one was, and how long the logs were then.
        clock: Unix seconds.
    """

    LANE: ClassVar[Lane] = "commands"

    target: Target
    rollout: Rollout
    root: Path
    then: Then | None
    verify: Verify | None
    memory: Memory
    clock: Callable[[], float] = time.time

    @property
    def name(self) -> str:
        """The target's own."""
        return self.target.name

    def apply(self, state: State) -> None:
        """Change the target where it differs, and restart its readers after a change."""
        with files.locked(self.memory.path.with_suffix(".run")):
            if not self.target.read_back(state):
                self.memory.keep({"due": True})
                self.target.apply(state)
            if self._due() and self.target.read_back(state):
                self._restart()

    def read_back(self, state: State) -> bool:
        """Return whether the target is as it should be and its readers were restarted.

        Raises:
            TargetError: it is, and they were, but a check does not pass: another change would not help.
        """
        if not self.target.read_back(state) or self._due():
            return False
        word = desired_position(self.rollout, state)
        if self.verify and self.verify.log:
            self._check_log(self.verify.log, word)
        if self.verify and self.verify.command:
            self._check_command(self.verify.command, word)
        if self.verify and self.verify.http:
            _check_http(self.verify.http, word)
        return True

    def _due(self) -> bool:
        return bool(self.memory.load().get("due"))

    def _restart(self) -> None:
        logs = self.verify.log.files if self.verify and self.verify.log else ()
        sizes = {name: _size(self.root / name) for name in logs}
        said = ""
        if self.then:
            said = Runner(self.root, self.then.timeout, {}).run(self.then.restart)
        self.memory.keep({"due": False, "restarted_at": self.clock(), "logs": sizes, "output": said})

    def _check_log(self, wanted: LogLine, word: str) -> None:
        noted = self.memory.load()
        expected = word in wanted.states
        if "restarted_at" not in noted or noted.get("seen") is expected:
            return  # nothing was changed here yet; or it was seen once, and logs are rotated away
        found = {
            name: _shows(self.root / name, noted["logs"].get(name), wanted.line) for name in wanted.files
        }
        wrong = [name for name, shown in found.items() if shown != expected]
        if wrong:
            what = "does not show" if expected else "shows"
            raise TargetError(f"{wrong[0]} {what} {wanted.line!r} since the restart of its process.")
        left = noted["restarted_at"] + wanted.settle - self.clock()
        if left > 0 and not expected:
            raise TargetError(f"{wanted.files[0]} is watched for another {render(max(1, round(left)))}.")
        self.memory.keep({**noted, "seen": expected})

    def _check_command(self, wanted: VerifyCommand, word: str) -> None:
        if word in wanted.run:
            Runner(self.root, wanted.timeout, {}).run(wanted.run[word])


def _check_http(wanted: VerifyHttp, word: str) -> None:
    if word in wanted.expect:
        wrong = Caller(wanted.timeout).require("GET", wanted.url, None, wanted.expect[word], {})
        if wrong:
            raise TargetError(wrong)


def _size(log: Path) -> list[int] | None:
    """Return which file a log is and how long; None where there is none."""
    try:
        found = log.stat()
    except FileNotFoundError:
        return None
    return [found.st_ino, found.st_size]


def _shows(log: Path, noted: list[int] | None, line: str) -> bool:
    """Return whether a log has a text in what was written since its size was noted."""
    now = _size(log)
    start = noted[1] if noted and now and now[0] == noted[0] and now[1] >= noted[1] else 0
    try:
        with log.open("rb") as file:
            file.seek(start)
            return any(line.encode() in read for read in file)
    except OSError:
        return False
