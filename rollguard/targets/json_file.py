"""A JSON file of the application: values are replaced in place, a whole object at once where one is given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rollguard.targets import json_text
from rollguard.targets.interface import TargetError
from rollguard.targets.values_file import ValuesFileTarget

_ABSENT = object()


class JsonFileTarget(ValuesFileTarget):
    """Writes what a state means into an application's JSON file; keys are dotted."""

    def spliced(self, content: bytes, values: Mapping[str, Any]) -> bytes:
        """Return the text with the values that differ replaced."""
        text, document = self._parse(content)
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

    def others(self, content: bytes, values: Mapping[str, Any]) -> list[str]:
        """Return the keys that have another value, type included."""
        _, document = self._parse(content)
        return [key for key, value in values.items() if not json_text.same(self._value(document, key), value)]

    def _parse(self, content: bytes) -> tuple[str, dict[str, Any]]:
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
