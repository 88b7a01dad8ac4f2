"""A JSON file of the application: values are replaced in place, a whole object at once where one is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rollguard.spec import Rollout
from rollguard.state import State
from rollguard.targets import files, json_text
from rollguard.targets.interface import TargetError, wanted

_ABSENT = object()


@dataclass(frozen=True)
class JsonFileTarget:
    """Writes what a state means into an application's JSON file.

    Args:
        name: as status and metrics show it.
        rollout: whose states they are.
        path: the file; it must exist, with every key.
        values: for the fallback and for each stage: dotted keys and their values.
    """

    name: str
    rollout: Rollout
    path: Path
    values: Mapping[str, Mapping[str, Any]]

    def apply(self, state: State) -> None:
        """Replace the values that differ."""
        values = wanted(self.name, self.rollout, state, self.values)
        files.replace(self.path, lambda before: self._changed(before, values))

    def read_back(self, state: State) -> bool:
        """Return whether every value is there, type included."""
        _, document = self._parse(files.read(self.path))
        values = wanted(self.name, self.rollout, state, self.values)
        return all(json_text.same(self._value(document, key), value) for key, value in values.items())

    def _changed(self, before: bytes | None, values: Mapping[str, Any]) -> bytes:
        text, document = self._parse(before)
        for key, value in values.items():
            if json_text.same(self._value(document, key), value):
                continue
            parts = tuple(key.split("."))
            text = json_text.replaced(text, parts, value)
            self._value(document, ".".join(parts[:-1]))[parts[-1]] = value
        after = text.encode()
        if not json_text.same(self._parse(after)[1], document):
            raise TargetError(f"{self.path}: the values cannot be replaced without touching the rest.")
        return after

    def _parse(self, content: bytes | None) -> tuple[str, dict[str, Any]]:
        if content is None:
            raise TargetError(
                f"{self.path} does not exist.\n  Create it with the keys that the rollout sets."
            )
        text, document = json_text.parse(self.path, content)
        if not isinstance(document, dict):
            raise TargetError(f"{self.path} is not a JSON object, expected {{…}}.")
        return text, document

    def _value(self, document: dict[str, Any], dotted: str) -> Any:
        found: Any = document
        for part in filter(None, dotted.split(".")):
            found = found.get(part, _ABSENT) if isinstance(found, dict) else _ABSENT
            if found is _ABSENT:
                hint = f"Add {part}: there; only values are replaced."
                raise TargetError(f"{self.path}: {dotted} is missing.\n  {hint}")
        return found
