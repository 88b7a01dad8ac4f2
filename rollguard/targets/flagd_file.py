"""A file of flagd definitions: rollouts' flags are replaced, the other flags keep their very text."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rollguard.flags import definitions
from rollguard.spec.rollout import Rollout
from rollguard.state import State
from rollguard.targets import json_file
from rollguard.targets.interface import TargetError
from rollguard.targets.shared_file import FileTarget

SCHEMA = "https://flagd.dev/schema/v0/flags.json"


@dataclass(frozen=True)
class FlagdFileTarget(FileTarget):
    """Writes a rollout's flag for OpenFeature clients that read files.

    Args:
        name: as status and metrics show it.
        rollout: whose flag it is.
        path: the file, perhaps with flags of others.
        rollouts: all of them by name, for those that this one requires.
        states: returns the states of all of them by name.
    """

    rollouts: Mapping[str, Rollout] = field(default_factory=dict)
    states: Callable[[], Mapping[str, State]] = dict

    def desired_values(self, state: State) -> Mapping[str, Any]:
        """Return the flag's definition by its key."""
        known = self.states() if self.rollout.requires else {}
        return {self.rollout.flag.key: definitions.definition(self.rollout, state, self.rollouts, known)}

    def differing(self, content: bytes | None, values: Mapping[str, Any]) -> set[str]:
        """Return the flags with another definition, or none."""
        if content is None:
            return set(values)
        return set(_others(self._parse(content)[1], values))

    def replaced(self, content: bytes | None, values: Mapping[str, Any]) -> bytes:
        """Return the content with the definitions in their places; a missing file is created."""
        if content is None:
            return (json.dumps({"$schema": SCHEMA, "flags": values}, indent=2) + "\n").encode()
        text, document = self._parse(content)
        changed = _others(document, values)
        if not changed:
            return content
        after = _spliced(text, changed)
        document["flags"] |= changed
        if not json_file.same(json.loads(after), document):
            keys = ", ".join(changed)
            raise TargetError(f"{self.path}: {keys} cannot be replaced without touching the rest.")
        return after.encode()

    def _parse(self, content: bytes) -> tuple[str, dict[str, Any]]:
        text, document = json_file.parse(self.path, content)
        if not isinstance(document, dict) or not isinstance(document.get("flags"), dict):
            raise TargetError(f'{self.path} has no flags, expected {{"flags": {{…}}}}.')
        return text, document


def _others(document: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return those definitions that are not in a document."""
    found = document["flags"]
    return {key: wanted for key, wanted in values.items() if not json_file.same(found.get(key), wanted)}


def _spliced(text: str, wanted: Mapping[str, Any]) -> str:
    """Return valid JSON text with flags replaced, or added after the last."""
    start = next(start for name, start, _ in json_file.members(text, text.index("{")) if name == "flags")
    present = list(json_file.members(text, start))
    if not present:
        return json_file.replaced(text, ("flags",), dict(wanted))
    parts, at = [], 0
    for name, begin, end in present:
        if name in wanted:
            parts += [text[at:begin], json_file.rendered(text, wanted[name], begin)]
            at = end
    _, last_start, last_end = present[-1]
    parts.append(text[at:last_end])
    gap = "\n" + json_file.margin(text, last_start) if "\n" in text else " "
    new = wanted.keys() - {name for name, _, _ in present}
    for key in filter(new.__contains__, wanted):
        parts.append(f",{gap}{json.dumps(key)}: {json_file.rendered(text, wanted[key], last_start)}")
    return "".join([*parts, text[last_end:]])
