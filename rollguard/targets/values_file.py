"""What targets in an application's files have in common: values by state, spliced into what is there."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from rollguard.state import State
from rollguard.targets.interface import TargetError, desired_value
from rollguard.targets.shared_file import FileTarget


@dataclass(frozen=True)
class ValuesFileTarget(FileTarget):
    """Writes what a state means into a file of the application.

    Args:
        name: as status and metrics show it.
        rollout: whose states they are.
        path: the file; it must exist, with every key.
        values: for the fallback and for each stage: keys and their values.
    """

    KEYS: ClassVar[str] = "keys"
    """What the file calls them."""

    values: Mapping[str, Mapping[str, Any]]

    def desired_values(self, state: State) -> Mapping[str, Any]:
        """Return what the rollout file says."""
        return desired_value(self.name, self.rollout, state, self.values)

    def differing(self, content: bytes | None, values: Mapping[str, Any]) -> Collection[str]:
        """Return the keys that have another value."""
        return self.others(self._found(content), values)

    def replaced(self, content: bytes | None, values: Mapping[str, Any]) -> bytes:
        """Return the content with the values that differ replaced."""
        return self.spliced(self._found(content), values)

    @abstractmethod
    def others(self, content: bytes, values: Mapping[str, Any]) -> Collection[str]:
        """Return the keys that have another value; raises TargetError."""

    @abstractmethod
    def spliced(self, content: bytes, values: Mapping[str, Any]) -> bytes:
        """Return the file's content with the values, every other byte as it was; raises TargetError."""

    def _found(self, content: bytes | None) -> bytes:
        if content is None:
            hint = f"Create it with the {self.KEYS} that the rollout sets."
            raise TargetError(f"{self.path} does not exist.\n  {hint}")
        return content
