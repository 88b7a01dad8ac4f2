"""A file of flagd definitions: the rollout's flag is replaced, the other flags keep their very text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rollguard import flags
from rollguard.spec import Rollout
from rollguard.state import State
from rollguard.targets import files
from rollguard.targets.interface import TargetError

SCHEMA = "https://flagd.dev/schema/v0/flags.json"


@dataclass(frozen=True)
class FlagdFileTarget:
    """Writes a rollout's flag for OpenFeature clients that read files.

    Args:
        name: as status and metrics show it.
        rollout: whose flag it is.
        path: the file, perhaps with flags of others.
    """

    name: str
    rollout: Rollout
    path: Path

    def apply(self, state: State) -> None:
        """Put the flag's definition in its place; a missing file is created."""
        wanted = flags.definition(self.rollout, state)
        files.replace(self.path, lambda before: self._changed(before, wanted))

    def read_back(self, state: State) -> bool:
        """Return whether the file holds the definition of the state."""
        content = files.read(self.path)
        if content is None:
            return False
        found = self._parse(content)[1]["flags"].get(self.rollout.flag.key)
        return _same(found, flags.definition(self.rollout, state))

    def _changed(self, before: bytes | None, wanted: dict[str, Any]) -> bytes:
        key = self.rollout.flag.key
        if before is None:
            return (json.dumps({"$schema": SCHEMA, "flags": {key: wanted}}, indent=2) + "\n").encode()
        text, document = self._parse(before)
        if _same(document["flags"].get(key), wanted):
            return before
        after = _splice(text, key, wanted)
        document["flags"][key] = wanted
        if not _same(json.loads(after), document):
            raise TargetError(f"{self.path}: {key} cannot be replaced without touching the rest.")
        return after.encode()

    def _parse(self, content: bytes) -> tuple[str, dict[str, Any]]:
        try:
            text = content.decode()
            document = json.loads(text, object_pairs_hook=_unique)
        except (ValueError, RecursionError) as error:
            raise TargetError(f"{self.path} is not JSON: {error}.") from error
        if not isinstance(document, dict) or not isinstance(document.get("flags"), dict):
            raise TargetError(f'{self.path} has no flags, expected {{"flags": {{…}}}}.')
        return text, document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"{next(key for key in keys if keys.count(key) > 1)} is given twice")
    return found


def _same(one: Any, other: Any) -> bool:
    """Compare as JSON does: true is not 1, the order of keys does not count."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _splice(text: str, key: str, wanted: dict[str, Any]) -> str:
    """Return valid JSON text with one flag replaced, or added after the last."""
    start, end = next((start, end) for name, start, end in _members(text, text.index("{")) if name == "flags")
    members = list(_members(text, start))
    for name, value_start, value_end in members:
        if name == key:
            return text[:value_start] + _rendered(text, wanted, value_start) + text[value_end:]
    if not members:
        return text[:start] + _rendered(text, {key: wanted}, start) + text[end:]
    last = members[-1]
    line = _line_start(text, last[1])
    gap = text[line : last[1]] if "\n" in text else ""
    margin = "\n" + gap[: len(gap) - len(gap.lstrip())] if "\n" in text else " "
    added = f",{margin}{json.dumps(key)}: {_rendered(text, wanted, last[1])}"
    return text[: last[2]] + added + text[last[2] :]


def _members(text: str, start: int) -> Iterator[tuple[str, int, int]]:
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


def _skip(text: str, at: int) -> int:
    while text[at] in " \t\r\n":
        at += 1
    return at


def _rendered(text: str, value: dict[str, Any], at: int) -> str:
    """Return a value as the file is written: on one line, or indented like the line that an index is in."""
    if "\n" not in text:
        return json.dumps(value)
    line = text[_line_start(text, at) : at]
    margin = line[: len(line) - len(line.lstrip())]
    newline = "\r\n" if "\r\n" in text else "\n"
    return json.dumps(value, indent=2).replace("\n", newline + margin)


def _line_start(text: str, at: int) -> int:
    return text.rfind("\n", 0, at) + 1
