"""What targets in an application's files have in common: a state's values, spliced into what is there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from rollguard.spec import Rollout
from rollguard.state import State
from rollguard.targets import files
from rollguard.targets.interface import TargetError, wanted


@dataclass(frozen=True)
class ValuesFileTarget(ABC):
    """Writes what a state means into a file of the application.

    Args:
        name: as status and metrics show it.
        rollout: whose states they are.
        path: the file; it must exist, with every key.
        values: for the fallback and for each stage: keys and their values.
    """

    KEYS: ClassVar[str] = "keys"
    """What the file calls them."""

    name: str
    rollout: Rollout
    path: Path
    values: Mapping[str, Mapping[str, Any]]

    def apply(self, state: State) -> None:
        """Replace the values that differ."""
        values = wanted(self.name, self.rollout, state, self.values)
        files.replace(self.path, lambda before: self.replaced(self._found(before), values))

    def read_back(self, state: State) -> bool:
        """Return whether every value is there."""
        content = self._found(files.read(self.path))
        return self.holds(content, wanted(self.name, self.rollout, state, self.values))

    @abstractmethod
    def replaced(self, content: bytes, values: Mapping[str, Any]) -> bytes:
        """Return the file's content with the values, every other byte as it was; raises TargetError."""

    @abstractmethod
    def holds(self, content: bytes, values: Mapping[str, Any]) -> bool:
        """Return whether the file's content has the values; raises TargetError."""

    def _found(self, content: bytes | None) -> bytes:
        if content is None:
            hint = f"Create it with the {self.KEYS} that the rollout sets."
            raise TargetError(f"{self.path} does not exist.\n  {hint}")
        return content
