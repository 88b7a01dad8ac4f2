"""What every target is: something outside that follows a rollout's state, convergently."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, Literal, Protocol, TypeAlias, TypeVar

from rollguard.conventions import FALLBACK
from rollguard.errors import RollguardError
from rollguard.spec.rollout import Rollout
from rollguard.state import State

_Values = TypeVar("_Values")

Lane: TypeAlias = Literal["files", "network", "commands"]
"""What a target may have to wait for."""

CHANGED = "was changed from outside"
NOT_READ_BACK = "was written, but does not read back"


class TargetError(RollguardError):
    """A target cannot be read or written now; it is as it was, and is tried again."""


class Target(Protocol):
    """Something outside that follows a rollout's state; each of its methods ends within a time limit."""

    LANE: ClassVar[Lane]

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


def follow(target: Target, state: State, may_write: Callable[[], bool]) -> str:
    """Bring a target to a state.

    Args:
        target: any.
        state: of its rollout.
        may_write: is called where it is behind, and returns whether it may be written now.
    Returns:
        Why it is not there; empty where it reads back.
    """
    try:
        if target.read_back(state):
            return ""
        if not may_write():
            return CHANGED
        target.apply(state)
        return "" if target.read_back(state) else NOT_READ_BACK
    except TargetError as error:
        return str(error)


def desired_position(rollout: Rollout, state: State) -> str:
    """Return the word under which targets list what a state means: `fallback`, or a stage's name."""
    if state.status == "ENABLED":
        return rollout.stages[-1].name
    if state.status == "ROLLING_OUT" and state.stage is not None:
        return state.stage
    return FALLBACK


def desired_value(name: str, rollout: Rollout, state: State, values: Mapping[str, _Values]) -> _Values:
    """Return what a target is to hold in a state.

    Args:
        name: of the target.
        rollout: whose states they are.
        state: the current one.
        values: by the word that `meaning` returns.
    Raises:
        TargetError: the file does not say what the state means.
    """
    word = desired_position(rollout, state)
    if word not in values:
        raise TargetError(f"{name} does not say what {word} means, expected its keys and values.")
    return values[word]
