"""A JSON file of the application: values are replaced in place, a whole object at once where one is given."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rollguard.targets.interface import TargetError
from rollguard.targets.values_file import ValuesFileTarget

_ABSENT = object()


class JsonFileTarget(ValuesFileTarget):
    """Writes what a state means into an application's JSON file; keys are dotted."""

    def spliced(self, content: bytes, values: Mapping[str, Any]) -> bytes:
        """Return the text with the values that differ replaced."""
        text, document = self._parse(content)
        for key, value in values.items():
            if same(self._value(document, key), value):
                continue
            parts = tuple(key.split("."))
            text = replaced(text, parts, value)
            self._value(document, ".".join(parts[:-1]))[parts[-1]] = value
        after = text.encode()
        if not same(self._parse(after)[1], document):
            raise TargetError(f"{self.path}: the values cannot be replaced without touching the rest.")
        return after

    def others(self, content: bytes, values: Mapping[str, Any]) -> list[str]:
        """Return the keys that have another value, type included."""
        _, document = self._parse(content)
        return [key for key, value in values.items() if not same(self._value(document, key), value)]

    def _parse(self, content: bytes) -> tuple[str, dict[str, Any]]:
        text, document = parse(self.path, content)
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


_SPACE = " \t\r\n"


_INDENT = re.compile(r"^[ \t]+(?=[^\s])", re.MULTILINE)


def parse(path: Path, content: bytes) -> tuple[str, Any]:
    """Return a JSON file's text, and what it holds.

    Raises:
        TargetError: it is not JSON, or gives a key twice.
    """
    try:
        text = content.decode()
        return text, json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise TargetError(f"{path} is not JSON: {error}.") from error


def same(one: Any, other: Any) -> bool:
    """Compare as JSON does: true is not 1, the order of keys does not count."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def replaced(text: str, keys: tuple[str, ...], value: Any) -> str:
    """Return valid JSON text with one value replaced.

    Args:
        text: an object.
        keys: from the root to the value; each must be there.
        value: anything that JSON can hold.
    """
    start = text.index("{")
    for key in keys:
        start, end = next((start, end) for name, start, end in members(text, start) if name == key)
    return text[:start] + rendered(text, value, start) + text[end:]


def members(text: str, start: int) -> Iterator[tuple[str, int, int]]:
    """Yield key, start and end of each value of the JSON object that begins at an index."""
    decoder = json.JSONDecoder()
    at = _skip(text, start + 1)
    while text[at] != "}":
        key, at = decoder.raw_decode(text, at)
        value_start = _skip(text, _skip(text, at) + 1)
        _, value_end = decoder.raw_decode(text, value_start)
        yield key, value_start, value_end
        at = _skip(text, value_end)
        at = _skip(text, at + 1) if text[at] == "," else at


def rendered(text: str, value: Any, at: int) -> str:
    """Return a value as the file is written: on one line, or indented like the line that an index is in."""
    if "\n" not in text:
        return json.dumps(value)
    newline = "\r\n" if "\r\n" in text else "\n"
    return json.dumps(value, indent=_step(text)).replace("\n", newline + margin(text, at))


def margin(text: str, at: int) -> str:
    """Return the white space that the line of an index begins with."""
    line = text[text.rfind("\n", 0, at) + 1 : at]
    return line[: len(line) - len(line.lstrip())]


def _step(text: str) -> str:
    """Return what the file's first indented line is indented by; two spaces where there is none."""
    first = _INDENT.search(text)
    return first[0] if first else "  "


def _skip(text: str, at: int) -> int:
    while text[at] in _SPACE:
        at += 1
    return at


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"{next(key for key in keys if keys.count(key) > 1)} is given twice")
    return found
