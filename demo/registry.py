"""The demo's models, as a registry in a folder."""

from __future__ import annotations

import json
from pathlib import Path


class Registry:
    """A folder with an entry for each model, a manifest, and links to the active one and the candidate.

    Args:
        root: the folder; created with the first entry.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._entries: list[str] = []

    @property
    def active(self) -> str:
        """The entry that the link `active` names."""
        return (self._root / "active").readlink().name

    def add(self, entry: str) -> None:
        """Append an entry, which is the candidate from now on."""
        (self._root / entry).mkdir(parents=True)
        self._entries.append(entry)
        manifest = [{"id": entry, "path": entry} for entry in self._entries]
        (self._root / "manifest.json").write_text(json.dumps(manifest, indent=2), encoding="utf-8")
        self._link("shadow", entry)

    def activate(self, entry: str) -> None:
        """Let an entry be the active one, as before the first rollout."""
        self._link("active", entry)

    def _link(self, slot: str, entry: str) -> None:
        (self._root / slot).unlink(missing_ok=True)
        (self._root / slot).symlink_to(entry)
