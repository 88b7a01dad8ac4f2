"""A command that brings something along: run once for each state that a run of the rollout comes to."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from rollguard.spec.rollout import Rollout
from rollguard.state import State
from rollguard.targets import files
from rollguard.targets.interface import Lane, desired_position
from rollguard.targets.memory import Memory
from rollguard.targets.process import Runner, end_left_over

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CommandTarget:
    """Runs what a state names; before the first run of the rollout there is nothing to do.

    A command whose end was not noted, because this process was killed, is run again; what is left of it is
    ended first.

    Args:
        name: as status and metrics show it.
        rollout: whose states they are.
        commands: program and arguments by state; nothing is run for a state without.
        runner: how they run.
        memory: which state of which run was done last, and what the command said.
    """

    LANE: ClassVar[Lane] = "commands"

    name: str
    rollout: Rollout
    commands: Mapping[str, Sequence[str]]
    runner: Runner
    memory: Memory

    def apply(self, state: State) -> None:
        """Run the state's command, unless it was run already."""
        with files.locked(self.memory.path.with_suffix(".run")):
            if self.read_back(state):
                return
            word = desired_position(self.rollout, state)
            arguments = self.commands.get(word)
            noted = self.memory.load()
            end_left_over(noted.get("running"))
            said = ""
            if arguments:
                log.info("%s: %s runs %s", self.rollout.name, self.name, " ".join(arguments))
                runner = replace(
                    self.runner,
                    environment=told(state.rollout, state.run, word),
                    on_start=lambda process: self.memory.keep({**noted, "running": process}),
                )
                said = runner.run(arguments)
            done = {"run": state.run, "state": word, "at": time.time(), "command": arguments, "output": said}
            self.memory.keep(done)

    def read_back(self, state: State) -> bool:
        """Return whether the state's command ended well in this run of the rollout."""
        done = self.memory.load()
        return state.run == 0 or (done.get("run"), done.get("state")) == (
            state.run,
            desired_position(self.rollout, state),
        )


def told(rollout: str, run: int, word: str) -> dict[str, str]:
    """Return what a command may want to know; nothing that comes from an alert."""
    return {"ROLLGUARD_ROLLOUT": rollout, "ROLLGUARD_RUN": str(run), "ROLLGUARD_STATE": word}
