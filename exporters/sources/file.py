"""Files of lines as a source: one path, or all that a pattern finds."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from pathlib import Path

import msgspec

from rollguard.exporters.sources.interface import MAX_LINE_BYTES, Block, Reading
from rollguard.exporters.sources.lines import LineFile, Position
from rollguard.exporters.sources.rotation import SUFFIX


class FilePositions(msgspec.Struct, frozen=True):
    """Where each file is.

    Args:
        files: by path; None where it was not opened yet, or between two files of one path.
    """

    files: dict[str, Position | None]


class FileSource:
    """Follows files through rotation; see `rollguard.exporters.sources.interface.Source`.

    Args:
        pattern: a path, which may not be there yet, or a pattern such as `logs/worker-*.log`, whose files may
            come at any time.
        name: what the files hold.
        poll_seconds: between two looks that bring nothing.
        max_line_bytes: longer lines are passed over.
    """

    unit = "bytes"

    def __init__(
        self,
        pattern: str | Path,
        name: str = "events",
        *,
        poll_seconds: float = 0.1,
        max_line_bytes: int = MAX_LINE_BYTES,
    ) -> None:
        self.name = name
        self.poll_seconds = poll_seconds
        self.up = False
        self._pattern = str(pattern)
        self._max_line_bytes = max_line_bytes
        self._files: dict[str, LineFile] = {}
        self._next = 0
        self._at_end: dict[str, bool] = {}
        self.resume(msgspec.Raw(b"null"))

    def __str__(self) -> str:
        return self._pattern

    def resume(self, position: msgspec.Raw) -> FilePositions | None:
        """Go on from a checkpoint; files that it does not name are read from their start."""
        found = msgspec.json.decode(position, type=FilePositions | None)
        self.close()
        self._at_end = {}
        self._files = {path: self._file(path, at) for path, at in found.files.items()} if found else {}
        if not glob.has_magic(self._pattern):
            self._files = {self._pattern: self._files.get(self._pattern) or self._file(self._pattern)}
        return found

    def read(self) -> Reading[Block]:
        """Return the next lines of the first file that has some, another one's at the next look."""
        self._find()
        paths = list(self._files)
        for number in range(len(paths)):
            path = paths[(self._next + number) % len(paths)]
            file = self._files[path]
            before = file.position
            block, self._at_end[path] = file.read()
            if file.position != before:
                self._next = (self._next + number + 1) % len(paths)
                return self._reading(block, save_soon=_rotated(before, file.position))
        return self._reading(None, save_soon=False)

    def rest(self) -> Block | None:
        """Return the files' last lines where they have no line feed."""
        rests = [rest for file in self._files.values() if (rest := file.rest())]
        return Block(b"\n".join(rests)) if rests else None

    def saved(self, position: msgspec.Struct) -> None:
        """Do nothing: a file keeps what was read."""

    def lag(self) -> float:
        """Return the bytes that are there and not yet read."""
        return sum(file.lag_bytes() for file in self._files.values())

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()

    def _reading(self, block: Block | None, *, save_soon: bool) -> Reading[Block]:
        self.up = bool(self._files) and all(file.present for file in self._files.values())
        positions = {path: file.position for path, file in self._files.items()}
        somewhere = FilePositions(positions) if any(positions.values()) else None
        at_end = all(self._at_end.get(path) for path in self._files)
        return Reading(block, somewhere, at_end, save_soon)

    def _file(self, path: str, position: Position | None = None) -> LineFile:
        return LineFile(Path(path), position, max_line_bytes=self._max_line_bytes)

    def _find(self) -> None:
        """Take up files that have come, and let go of those that are gone and were read to their end."""
        if not glob.has_magic(self._pattern):
            return
        found = set(_live(glob.glob(self._pattern)))
        for path in sorted(found - self._files.keys()):
            self._files[path] = self._file(path)
        for path in self._files.keys() - found:
            if self._files[path].is_gone():
                self._files.pop(path).close()
                self._at_end.pop(path, None)


def _live(paths: list[str]) -> Iterator[str]:
    """The paths that are not another's rotated predecessors: worker.log, but not worker.log.1 beside it."""
    names = set(paths)
    for path in paths:
        base = SUFFIX.sub("", path)
        if base == path or base not in names:
            yield path


def _rotated(before: Position | None, after: Position | None) -> bool:
    return before is not None and (after is None or after.inode != before.inode)
