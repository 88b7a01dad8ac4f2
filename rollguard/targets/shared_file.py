"""Targets in files, of which several may share one: what is due of them is one read and one write."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from rollguard.spec.rollout import Rollout
from rollguard.state import State
from rollguard.targets import files
from rollguard.targets.interface import CHANGED, NOT_READ_BACK, Lane, TargetError

_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class FileTarget(ABC):
    """Keeps values under keys of a file.

    Args:
        name: as status and metrics show it.
        rollout: whose states they are.
        path: the file.
    """

    LANE: ClassVar[Lane] = "files"

    name: str
    rollout: Rollout
    path: Path

    def apply(self, state: State) -> None:
        """Replace the values that differ."""
        values = self.desired_values(state)
        files.replace(self.path, lambda before: self.replaced(before, values))

    def read_back(self, state: State) -> bool:
        """Return whether every value is there."""
        return not self.differing(files.read(self.path), self.desired_values(state))

    @abstractmethod
    def desired_values(self, state: State) -> Mapping[str, Any]:
        """Return the values of a state by their keys; raises TargetError."""

    @abstractmethod
    def differing(self, content: bytes | None, values: Mapping[str, Any]) -> Collection[str]:
        """Return the keys that have another value; raises TargetError where one cannot be looked up."""

    @abstractmethod
    def replaced(self, content: bytes | None, values: Mapping[str, Any]) -> bytes:
        """Return the content with the values, every other byte as it was; raises TargetError."""


def follow_together(
    members: Sequence[tuple[FileTarget, State]], may_write: Callable[[int], bool]
) -> list[str]:
    """Bring targets of one kind in one file to their states, by one write.

    Args:
        members: the targets, and the state of each one's rollout.
        may_write: is told the place of each that is behind, and returns whether it may be written now.
    Returns:
        For each why it is not there; empty where it reads back.
    """
    batch = _Batch(members)
    path = members[0][0].path
    try:
        batch.settle(files.read(path))
        for place in list(batch.left):
            if not may_write(place):
                batch.drop(place, CHANGED)
        if batch.left:
            files.replace(path, batch.replaced)
            batch.settle(files.read(path))
    except TargetError as error:
        for place in list(batch.left):
            batch.drop(place, str(error))
    for place in list(batch.left):
        batch.drop(place, NOT_READ_BACK)
    return batch.errors


class _Batch:
    """Targets of one file, as many as are left to be brought along: their values by their places."""

    def __init__(self, members: Sequence[tuple[FileTarget, State]]) -> None:
        self._any = members[0][0]
        self.errors = [""] * len(members)
        self.left: dict[int, Mapping[str, Any]] = {}
        known: dict[str, Any] = {}
        for place, (target, state) in enumerate(members):
            try:
                values = target.desired_values(state)
                _refuse_others(target.path, known, values)
            except TargetError as error:
                self.errors[place] = str(error)
            else:
                self.left[place] = values
                known |= values

    def settle(self, content: bytes | None) -> None:
        """Let those go that are as they should be."""
        differing = set(self._ask(lambda values: self._any.differing(content, values)))
        self.left = {place: values for place, values in self.left.items() if differing & values.keys()}

    def replaced(self, content: bytes | None) -> bytes:
        """Return the content with the values of all."""
        return self._ask(lambda values: self._any.replaced(content, values))

    def drop(self, place: int, error: str) -> None:
        """Let one go that cannot be brought along."""
        self.errors[place] = error
        del self.left[place]

    def _ask(self, question: Callable[[Mapping[str, Any]], _Answer]) -> _Answer:
        """Return the answer for all values together, without those of whom alone it cannot be had."""
        try:
            return question(self._values())
        except TargetError:
            for place, values in list(self.left.items()):
                try:
                    question(values)
                except TargetError as error:
                    self.drop(place, str(error))
            return question(self._values())

    def _values(self) -> dict[str, Any]:
        return {key: value for values in self.left.values() for key, value in values.items()}


def _refuse_others(path: Path, known: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if known.get(key, value) != value:
            raise TargetError(f"{path}: {key} is given another value by another rollout at the same time.")
