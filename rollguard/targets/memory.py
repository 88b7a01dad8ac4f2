"""What a target must remember beyond a crash, where the outside cannot tell: a small file of its own."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rollguard.targets import files


class Memory:
    """A few values on disk, replaced as a whole.

    Args:
        folder: of all memories of a rollout.
        name: of the target.
    """

    def __init__(self, folder: Path, name: str) -> None:
        readable = re.sub(r"[^A-Za-z0-9-]+", "_", name)[:60]
        digest = hashlib.sha256(name.encode()).hexdigest()[:8]
        self.path = folder / f"{readable}-{digest}.json"

    def load(self) -> dict[str, Any]:
        """Return what was kept last; nothing where nothing was, or where it cannot be understood."""
        try:
            found = json.loads(files.read(self.path) or b"{}")
        except (ValueError, RecursionError):
            found = {}
        return found if isinstance(found, dict) else {}

    def keep(self, values: Mapping[str, Any]) -> None:
        """Keep other values from now on; they are on disk when this returns."""
        content = json.dumps(values, indent=2).encode() + b"\n"
        files.replace(self.path, lambda _: content)
