"""A file of lines that grows, rotates and is truncated, read from a position that survives a restart."""

from __future__ import annotations

import errno
import logging
import os
import stat
from contextlib import suppress
from pathlib import Path

import msgspec

from exporters.sources.interface import MAX_LINE_BYTES, Block

logger = logging.getLogger(__name__)

_HEAD_BYTES = 256
_LOOK_BYTES = 1 << 19


class Position(msgspec.Struct, frozen=True):
    """A place in a file, and enough to recognise the file. Its device is no help: a reboot may renumber it.

    Args:
        inode: of the file; it keeps it when it is renamed.
        offset: bytes that were read.
        head: the file's first bytes, at most 256 and none past the offset: another text means another file.
        skipping: whether the offset is within a line that is too long, whose rest is passed over.
    """

    inode: int
    offset: int = 0
    head: bytes = b""
    skipping: bool = False


class LineFile:
    """Follows one path through rotation by rename and through copy-and-truncate.

    A renamed file is read to its end before the one that took its name. Not followed: files that came and
    went between two looks, and lines that another process writes to the old file after the new one has some.

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
        self._file: int | None = None
        self._last_error = ""

    def read(self) -> tuple[Block, bool]:
        """Return the next lines, at most half a mebibyte of them, and whether nothing more is there for now.

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
        rest = os.pread(self._file, self._max_line_bytes, self.position.offset)
        self._advance(len(rest))
        return rest

    def lag_bytes(self) -> int:
        """Return how many bytes are there and not yet read."""
        try:
            current = self.path.stat()
        except OSError:
            current = None
        if self._file is None or self.position is None:
            return current.st_size if current else 0
        held = os.fstat(self._file)
        lag = max(0, held.st_size - self.position.offset)
        moved_on = current is not None and not os.path.samestat(current, held)
        return lag + (current.st_size if current and moved_on else 0)

    def is_gone(self) -> bool:
        """Return whether nothing can come any more: no path leads to the file, which was read to its end."""
        if self.present or self.path.exists():
            return False
        return self._file is None or (self.lag_bytes() == 0 and os.fstat(self._file).st_nlink == 0)

    def close(self) -> None:
        """Let the file go."""
        self._close()

    def _read(self) -> tuple[Block, bool]:
        file, position = self._opened()
        if not _holds(file, position):
            logger.warning("%s: was truncated; reading it from its start", self.path)
            position = self.position = Position(position.inode)
        successor = self._successor(file)
        block, at_end = self._chunk(file)
        if not at_end or successor is None:
            return block, at_end
        rest = self.rest()  # looked at the successor first: what the writer left here, it left before that
        self._close()
        self.position = None
        with suppress(OSError):  # the next look says what is wrong
            self._opened()
        return Block(rest + b"\n" if rest else b"", block.too_long), False

    def _opened(self) -> tuple[int, Position]:
        if self._file is None:
            self._file, self.position = self._open()
        assert self.position is not None
        return self._file, self.position

    def _open(self) -> tuple[int, Position]:
        if self.position is not None:
            if (found := self._reopened(self.position)) is not None:
                return found
            logger.warning("%s: the file read last is gone or changed; what it held since is lost", self.path)
            self.position = None
        file = _open_regular(self.path)
        return file, Position(os.fstat(file).st_ino)

    def _reopened(self, position: Position) -> tuple[int, Position] | None:
        """The file of a position, under whatever name it goes on from the path's: itself, or a copy of it."""
        for path in sorted(self._names(), key=lambda path: _inode(path) != position.inode):
            try:
                file = _open_regular(path)
            except OSError as error:
                if path == self.path and not isinstance(error, FileNotFoundError):
                    raise  # it may well be the one: better wait than take it for lost
                continue
            inode = os.fstat(file).st_ino
            if (inode == position.inode or position.head) and _holds(file, position):
                return file, msgspec.structs.replace(position, inode=inode)
            os.close(file)
        return None

    def _names(self) -> list[Path]:
        folder = self.path.parent
        names = folder.iterdir() if folder.is_dir() else ()
        return [self.path, *sorted(p for p in names if p.name.startswith(self.path.name) and p != self.path)]

    def _successor(self, file: int) -> os.stat_result | None:
        """The file that took the path's name, once it has lines: until then the writer may use this one."""
        try:
            current = self.path.stat()
        except FileNotFoundError:
            self.present = False
            return None
        self.present = True
        return current if current.st_size and not os.path.samestat(current, os.fstat(file)) else None

    def _chunk(self, file: int) -> tuple[Block, bool]:
        assert self.position is not None
        longest = self._max_line_bytes + 1
        data = os.pread(file, min(_LOOK_BYTES, longest), self.position.offset)
        if len(data) == _LOOK_BYTES and b"\n" not in data:
            data = os.pread(file, longest, self.position.offset)
        if self.position.skipping:
            end = data.find(b"\n") + 1
            self._advance(end or len(data), skipping=not end)
            return Block(), not data
        end = data.rfind(b"\n") + 1
        if not end and len(data) > self._max_line_bytes:
            self._advance(len(data), skipping=True)
            return Block(too_long=1), False
        self._advance(end)
        return Block(data[:end]), not end

    def _advance(self, length: int, *, skipping: bool = False) -> None:
        assert self._file is not None
        assert self.position is not None
        position = self.position
        offset, head = position.offset + length, position.head
        if len(head) < min(_HEAD_BYTES, offset):
            head = os.pread(self._file, min(_HEAD_BYTES, offset), 0)
        self.position = Position(position.inode, offset, head, skipping)

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _report(self, error: str) -> None:
        if error and error != self._last_error:
            logger.error("%s", error)
        self._last_error = error


def _open_regular(path: Path) -> int:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return file


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except OSError:
        return 0


def _holds(file: int, position: Position) -> bool:
    if os.fstat(file).st_size < position.offset:
        return False
    return os.pread(file, len(position.head), 0) == position.head
