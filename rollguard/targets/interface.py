"""What every target is: something outside that follows a rollout's state, convergently."""

from __future__ import annotations

from typing import Protocol

from rollguard.errors import RollguardError
from rollguard.spec import Rollout
from rollguard.state import State

FALLBACK = "fallback"


class TargetError(RollguardError):
    """A target cannot be read or written now; it is as it was, and is tried again."""


class Target(Protocol):
    """Something outside that follows a rollout's state."""

    @property
    def name(self) -> str:
        """Kind and place, unique within the rollout."""

    def apply(self, state: State) -> None:
        """Make the outside what a state means; write nothing where it is so already.

        Raises:
            TargetError: it could not be done; the outside is as it was.
        """

    def read_back(self, state: State) -> bool:
        """Return whether the outside is what a state means.

        Raises:
            TargetError: it cannot be read.
        """


def meaning(rollout: Rollout, state: State) -> str:
    """Return the word under which targets list what a state means: `fallback`, or a stage's name."""
    if state.status == "ENABLED":
        return rollout.stages[-1].name
    if state.status == "ROLLING_OUT" and state.stage is not None:
        return state.stage
    return FALLBACK
