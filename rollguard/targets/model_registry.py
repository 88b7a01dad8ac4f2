"""A registry of models: the active slot names the candidate in the last stage, else its predecessor."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from rollguard.spec.rollout import Rollout
from rollguard.state import State
from rollguard.targets import files, json_file
from rollguard.targets.interface import Lane, TargetError, desired_position
from rollguard.targets.memory import Memory

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class ModelRegistryTarget:
    """Points the active slot at an entry of the manifest; the first look in a run notes between which two.

    The candidate is what the link `candidate` names then, or the manifest's last entry. Its predecessor is
    what the slot names then; where that is the candidate already, the entry before it in the manifest.

    Args:
        name: as status and metrics show it.
        rollout: whose states they are.
        root: the registry's folder, with the manifest and a folder for each entry.
        slot: name of the link, or the manifest's key.
        kind: link, or field of the manifest.
        candidate: name of the link to the candidate.
        memory: candidate and predecessor of a run.
    """

    LANE: ClassVar[Lane] = "files"

    name: str
    rollout: Rollout
    root: Path
    slot: str
    kind: Literal["link", "field"]
    candidate: str
    memory: Memory

    def apply(self, state: State) -> None:
        """Point the slot where the state wants it."""
        wanted = self._desired(state)
        if wanted is None or self._slot() == wanted:
            return
        if not (self.root / wanted).is_dir():
            raise TargetError(f"{self.root / wanted} is not a folder, so {self.slot} stays as it is.")
        if self.kind == "link":
            _link(self.root / self.slot, wanted)
        else:
            files.replace(self.root / MANIFEST, lambda before: self._with_field(before, wanted))

    def read_back(self, state: State) -> bool:
        """Return whether the slot is where the state wants it."""
        wanted = self._desired(state)
        return wanted is None or self._slot() == wanted

    def _desired(self, state: State) -> str | None:
        """Return the entry that a state means; None before the first run."""
        if state.run == 0:
            return None
        noted = self._noted(state.run)
        last = self.rollout.stages[-1].name
        return str(noted["candidate" if desired_position(self.rollout, state) == last else "predecessor"])

    def _noted(self, run: int) -> dict[str, Any]:
        noted = self.memory.load()
        if noted.get("run") != run or not {"candidate", "predecessor"} <= noted.keys():
            entries = self._entries()
            candidate = _linked(self.root / self.candidate) or entries[-1]
            active = self._slot()
            predecessor = active if active and active != candidate else self._before(candidate, entries)
            noted = {"run": run, "candidate": candidate, "predecessor": predecessor}
            self.memory.keep(noted)
        return noted

    def _before(self, candidate: str, entries: list[str]) -> str:
        place = entries.index(candidate) if candidate in entries else len(entries)
        if place == 0:
            raise TargetError(f"{self.root / MANIFEST} has no entry before {candidate} to fall back to.")
        return entries[place - 1]

    def _slot(self) -> str | None:
        if self.kind == "link":
            return _linked(self.root / self.slot)
        found = self._manifest(files.read(self.root / MANIFEST))[1].get(self.slot)
        return found if isinstance(found, str) else None

    def _entries(self) -> list[str]:
        """Return the manifest's ids in its order, the oldest first."""
        path = self.root / MANIFEST
        listed = self._manifest(files.read(path))[1]["models"]
        ids = [entry.get("id") for entry in listed if isinstance(entry, dict)]
        names = [name for name in ids if isinstance(name, str)]
        if not names or len(names) != len(listed):
            raise TargetError(f"{path} has an entry without an id, or none, expected a list of {{id, …}}.")
        for name in names:
            if name != os.path.basename(name) or name.startswith("."):
                raise TargetError(f"{path} has the id {name!r}, expected the name of a folder beside it.")
        return names

    def _manifest(self, content: bytes | None) -> tuple[str, dict[str, Any]]:
        path = self.root / MANIFEST
        if content is None:
            raise TargetError(f"{path} does not exist.\n  Create it: a list of {{id, created_at, …}}.")
        text, document = json_file.parse(path, content)
        if isinstance(document, list) and self.kind == "link":
            return text, {"models": document}
        if not isinstance(document, dict) or not isinstance(document.get("models"), list):
            expected = "a list of entries" if self.kind == "link" else f"{{{self.slot}: id, models: […]}}"
            raise TargetError(f"{path} is no manifest, expected {expected}.")
        if self.kind == "field" and self.slot not in document:
            raise TargetError(f"{path}: {self.slot} is missing.\n  Add it there, with the active entry's id.")
        return text, document

    def _with_field(self, before: bytes | None, wanted: str) -> bytes:
        text, _ = self._manifest(before)
        return json_file.replaced(text, (self.slot,), wanted).encode()


def _linked(link: Path) -> str | None:
    """Return the name of the entry that a link points at; None where there is no link.

    Raises:
        TargetError: something else is in its place.
    """
    try:
        return os.path.basename(os.readlink(link).rstrip("/"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise TargetError(f"{link} is not a link to an entry: {error.strerror}.") from error


def _link(link: Path, entry: str) -> None:
    """Point a link at an entry beside it; whoever follows it finds the old entry or the new."""
    temporary = link.with_name(f".{link.name}.tmp")
    try:
        with files.locked(link):
            temporary.unlink(missing_ok=True)
            temporary.symlink_to(entry)
            _linked(link)  # never replaces what is not a link
            temporary.replace(link)
            files.sync_folder(link.parent)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise TargetError(f"{link} cannot be written: {error.strerror or error}.") from error
