"""A file of flagd definitions: the rollout's flag is replaced, the other flags keep their very text."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rollguard import flags
from rollguard.spec import Rollout
from rollguard.state import State
from rollguard.targets import files, json_text
from rollguard.targets.interface import TargetError

SCHEMA = "https://flagd.dev/schema/v0/flags.json"


@dataclass(frozen=True)
class FlagdFileTarget:
    """Writes a rollout's flag for OpenFeature clients that read files.

    Args:
        name: as status and metrics show it.
        rollout: whose flag it is.
        path: the file, perhaps with flags of others.
        rollouts: all of them by name, for those that this one requires.
        states: returns the states of all of them by name.
    """

    name: str
    rollout: Rollout
    path: Path
    rollouts: Mapping[str, Rollout] = field(default_factory=dict)
    states: Callable[[], Mapping[str, State]] = dict

    def apply(self, state: State) -> None:
        """Put the flag's definition in its place; a missing file is created."""
        wanted = self._wanted(state)
        files.replace(self.path, lambda before: self._changed(before, wanted))

    def read_back(self, state: State) -> bool:
        """Return whether the file holds the definition of the state."""
        content = files.read(self.path)
        if content is None:
            return False
        found = self._parse(content)[1]["flags"].get(self.rollout.flag.key)
        return json_text.same(found, self._wanted(state))

    def _wanted(self, state: State) -> dict[str, Any]:
        known = self.states() if self.rollout.requires else {}
        return flags.definition(self.rollout, state, self.rollouts, known)

    def _changed(self, before: bytes | None, wanted: dict[str, Any]) -> bytes:
        key = self.rollout.flag.key
        if before is None:
            return (json.dumps({"$schema": SCHEMA, "flags": {key: wanted}}, indent=2) + "\n").encode()
        text, document = self._parse(before)
        if json_text.same(document["flags"].get(key), wanted):
            return before
        after = _splice(text, key, wanted)
        document["flags"][key] = wanted
        if not json_text.same(json.loads(after), document):
            raise TargetError(f"{self.path}: {key} cannot be replaced without touching the rest.")
        return after.encode()

    def _parse(self, content: bytes) -> tuple[str, dict[str, Any]]:
        text, document = json_text.parse(self.path, content)
        if not isinstance(document, dict) or not isinstance(document.get("flags"), dict):
            raise TargetError(f'{self.path} has no flags, expected {{"flags": {{…}}}}.')
        return text, document


def _splice(text: str, key: str, wanted: dict[str, Any]) -> str:
    """Return valid JSON text with one flag replaced, or added after the last."""
    start = next(start for name, start, _ in json_text.members(text, text.index("{")) if name == "flags")
    present = list(json_text.members(text, start))
    if not present:
        return json_text.replaced(text, ("flags",), {key: wanted})
    if any(name == key for name, _, _ in present):
        return json_text.replaced(text, ("flags", key), wanted)
    _, last_start, last_end = present[-1]
    gap = "\n" + json_text.margin(text, last_start) if "\n" in text else " "
    added = f",{gap}{json.dumps(key)}: {json_text.rendered(text, wanted, last_start)}"
    return text[:last_end] + added + text[last_end:]
