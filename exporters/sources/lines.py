"""A file of lines that grows, rotates and is truncated, read from a position that survives a restart."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Annotated

import msgspec

from rollguard.exporters.sources import rotation
from rollguard.exporters.sources.interface import MAX_LINE_BYTES, Block
from rollguard.exporters.sources.rotation import Content, Packed

logger = logging.getLogger(__name__)

_HEAD_BYTES, _TAIL_BYTES = 256, 64
_LOOK_BYTES = 1 << 19


class Position(msgspec.Struct, frozen=True):
    """A place in a file, and enough to recognise the file. Its device is no help: a reboot may renumber it.

    Args:
        inode: of the file; it keeps it when it is renamed.
        offset: bytes that were read.
        head: the file's first bytes, at most 256: another text means another file.
        tail: the last bytes before the offset, at most 64: files may all begin with the same banner.
        skipping: whether the offset is within a line that is too long, whose rest is passed over.
        modified: nanoseconds of the file's last change, as of the last look that brought something.
    """

    inode: int
    offset: Annotated[int, msgspec.Meta(ge=0)] = 0
    head: bytes = b""
    skipping: bool = False
    modified: int = 0
    tail: bytes = b""


class LineFile:
    """Follows one path through rotation by rename and through copy-and-truncate.

    A renamed file is read to its end before the ones that were written after it, and then the one that took
    its name. A truncated file is looked for among the copies beside it. Not followed: lines that another
    process writes to an old file after a newer one has some.

    Args:
        path: the file; it may not be there yet.
        position: where to go on, from a checkpoint; if its file is gone, reading begins with the present one.
        max_line_bytes: longer lines are passed over without being held in memory.
    """

    def __init__(
        self, path: Path, position: Position | None = None, *, max_line_bytes: int = MAX_LINE_BYTES
    ) -> None:
        self.path = path
        self.position = position
        self.present = False
        """Whether the path led to a readable file at the last look."""
        self._max_line_bytes = max_line_bytes
        self._file: Content | None = None
        self._copies: set[int] = set()
        self._last_error = ""

    def read(self) -> tuple[Block, bool]:
        """Return the next lines, at most half a mebibyte of them, and whether they are the last for now.

        What the file system refuses is logged and shown by `present`; the next look tries again.
        """
        try:
            found = self._read()
        except OSError as error:
            self._close()
            self.present = False
            missing = isinstance(error, FileNotFoundError)
            self._report("" if missing else f"{self.path}: cannot be read: {error.strerror}")
            return Block(), missing
        self._report("")
        return found

    def rest(self) -> bytes:
        """Return a last line without its line feed, and pass over it."""
        if self._file is None or self.position is None or self.position.skipping:
            return b""
        rest = self._file.at(self.position.offset, self._max_line_bytes)
        self._advance(len(rest))
        return rest

    def lag_bytes(self) -> int:
        """Return how many bytes are there and not yet read; of compressed files, as they are."""
        try:
            current = self.path.stat()
        except OSError:
            current = None
        if self._file is None or self.position is None:
            return current.st_size if current else 0
        held = self._file.stat()
        lag = max(0, held.st_size - self.position.offset)
        if current is not None and os.path.samestat(current, held):
            return lag
        later = rotation.written_after(self.path, held.st_ino, held.st_mtime_ns)
        return lag + sum(map(_size, later)) + (current.st_size if current else 0)

    def is_gone(self) -> bool:
        """Return whether nothing can come any more: no path leads to the file, which was read to its end."""
        if self.present or self.path.exists():
            return False
        return self._file is None or (self.lag_bytes() == 0 and self._file.stat().st_nlink == 0)

    def close(self) -> None:
        """Let the file go."""
        self._close()

    def _read(self) -> tuple[Block, bool]:
        file, position = self._opened()
        if not isinstance(file, Packed) and not _holds(file, position):
            logger.warning("%s: was truncated; looking for a copy of what it held", self.path)
            self._close()
            file, position = self._opened()
        successor, before = self._successor(file), position
        block, at_end = self._chunk(file)
        if self.position != before or successor is None:
            return block, at_end and successor is None
        following = rotation.opened(successor)
        rest = self.rest()  # looked for the successor first: what the writer left here, it left before that
        self._close()
        self._copies.clear()
        self._file, self.position = following, _start(following)
        return Block(rest + b"\n" if rest else b"", block.too_long), False

    def _opened(self) -> tuple[Content, Position]:
        if self._file is None:
            self._file, self.position = self._open()
        assert self.position is not None
        return self._file, self.position

    def _open(self) -> tuple[Content, Position]:
        if self.position is None:
            file: Content = rotation.Plain(self.path)
            return file, _start(file)
        if (found := self._reopened(self.position)) is not None:
            return found
        before = self.position
        if before.offset:
            logger.warning("%s: the file read last is gone or changed; what it held since is lost", self.path)
        modified = before.modified - (not before.offset)  # of a file that was not read yet, nothing is lost
        later = rotation.written_after(self.path, before.inode, modified)
        file = rotation.opened(later[0]) if later and before.modified else rotation.Plain(self.path)
        return file, _start(file)

    def _reopened(self, position: Position) -> tuple[Content, Position] | None:
        """The file of a position, under whatever name it goes on from the path's: itself, or a copy of it."""
        names = [self.path, *rotation.beside(self.path)]
        for path in sorted(names, key=lambda path: _inode(path) != position.inode):
            try:
                file = rotation.opened(path)
            except OSError as error:
                if path == self.path and not isinstance(error, FileNotFoundError):
                    raise  # it may well be the one: better wait than take it for lost
                continue
            inode = file.stat().st_ino
            if (inode == position.inode or position.head) and _holds(file, position):
                return file, msgspec.structs.replace(position, inode=inode)
            file.close()
        return None

    def _successor(self, file: Content) -> Path | None:
        """What was written after an open file, once it has lines: until then the writer may use this one."""
        held = file.stat()
        try:
            current = self.path.stat()
        except FileNotFoundError:
            current = None
        self.present = current is not None
        if current is not None and os.path.samestat(current, held):
            return None
        for path in rotation.written_after(self.path, held.st_ino, held.st_mtime_ns):
            if path.stat().st_ino not in self._copies and not self._is_copy(path):
                return path
        return self.path if current is not None and current.st_size else None

    def _is_copy(self, path: Path) -> bool:
        """Whether a file is what was just read, packed by something that does not keep its time."""
        assert self.position is not None
        file = rotation.opened(path)
        try:
            same = isinstance(file, Packed) and _holds(file, self.position)
            if same := same and not file.at(self.position.offset, 1):
                self._copies.add(file.stat().st_ino)
            return same
        finally:
            file.close()

    def _chunk(self, file: Content) -> tuple[Block, bool]:
        assert self.position is not None
        longest = self._max_line_bytes + 1
        asked = min(_LOOK_BYTES, longest)
        data = file.at(self.position.offset, asked)
        if len(data) == asked and b"\n" not in data:
            asked = longest
            data = file.at(self.position.offset, asked)
        at_end = len(data) < asked
        if self.position.skipping:
            end = data.find(b"\n") + 1
            self._advance(end or len(data), skipping=not end)
            return Block(), at_end and end in (0, len(data))
        end = data.rfind(b"\n") + 1
        if not end and len(data) > self._max_line_bytes:
            self._advance(len(data), skipping=True)
            return Block(too_long=1), False
        if end:
            self._advance(end)
        return Block(data[:end]), at_end

    def _advance(self, length: int, *, skipping: bool = False) -> None:
        assert self._file is not None
        assert self.position is not None
        position = self.position
        offset, head = position.offset + length, position.head
        if len(head) < min(_HEAD_BYTES, offset):
            head = self._file.at(0, min(_HEAD_BYTES, offset))
        before = min(_TAIL_BYTES, offset)
        self.position = Position(
            position.inode,
            offset,
            head,
            skipping,
            self._file.stat().st_mtime_ns,
            self._file.at(offset - before, before),
        )

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _report(self, error: str) -> None:
        if error and error != self._last_error:
            logger.error("%s", error)
        self._last_error = error


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except OSError:
        return 0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _start(file: Content) -> Position:
    status = file.stat()
    return Position(status.st_ino, head=file.at(0, _HEAD_BYTES), modified=status.st_mtime_ns)


def _holds(file: Content, position: Position) -> bool:
    """Whether a file has what was read of it."""
    if file.at(0, len(position.head)) != position.head:
        return False
    before = len(position.tail)
    return file.at(position.offset - before, before) == position.tail
