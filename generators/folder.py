"""Generated files in a folder: written where they differ, or compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path


def write(files: Mapping[str, str], folder: Path, ours: Sequence[str]) -> list[Path]:
    """Write generated files, and remove those that are left over.

    Args:
        files: path relative to the folder → text.
        folder: is created where it is missing.
        ours: patterns of files that are nobody else's: of these, what is not among the files is left over.
    Returns:
        The files that were written or removed: those that were out of date.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stale = outdated(files, folder, ours)
    wanted = {folder / name: text for name, text in files.items()}
    for path in stale:
        if path in wanted:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted[path], encoding="utf-8", newline="\n")
        else:
            path.unlink()
    return stale


def outdated(files: Mapping[str, str], folder: Path, ours: Sequence[str]) -> list[Path]:
    """Return which files differ from what would be written, are missing, or are left over; as for `write`."""
    wanted = {folder / name: text for name, text in files.items()}
    found = [path for pattern in ours for path in folder.glob(pattern)]
    return [
        *(path for path, text in wanted.items() if _read(path) != text),
        *sorted(path for path in found if path not in wanted),
    ]


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, UnicodeDecodeError):
        return None
