"""What rotation makes of a file: others beside it, in the order of their writing, perhaps compressed."""

from __future__ import annotations

import bz2
import errno
import gzip
import logging
import lzma
import os
import re
import stat
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Protocol, cast

logger = logging.getLogger(__name__)

SUFFIX = re.compile(r"[.-](?P<number>\d[-.\d_T]*?)(?P<packed>\.(gz|bz2|xz))?$")
"""What follows the name of a rotated file: .1, .2.gz, -20261121, -2026-11-21.xz."""

_UNPACK: dict[str, Callable[[Any], IO[bytes]]] = {
    ".gz": lambda file: cast(IO[bytes], gzip.GzipFile(fileobj=file)),
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
}


class Content(Protocol):
    """An open file that is read from any place on."""

    def at(self, offset: int, size: int) -> bytes:
        """Return up to so many bytes from a place; fewer only at the end."""

    def stat(self) -> os.stat_result:
        """Return what the file system says of the file."""

    def close(self) -> None:
        """Close it."""


class Plain:
    """A file as it is.

    Args:
        path: of a regular file.
    Raises:
        OSError: it cannot be opened, or is none.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        if not stat.S_ISREG(os.fstat(self._file).st_mode):
            self.close()
            raise OSError(errno.EINVAL, "not a regular file", str(path))

    def at(self, offset: int, size: int) -> bytes:
        """Return up to so many bytes from a place."""
        return os.pread(self._file, size, offset)

    def stat(self) -> os.stat_result:
        """Return what the file system says of the file."""
        return os.fstat(self._file)

    def close(self) -> None:
        """Close it."""
        os.close(self._file)


_UNPACK_BYTES = 1 << 18


class Packed:
    """What a compressed file holds; one that is broken ends where it breaks.

    Args:
        path: of a regular file whose name ends in .gz, .bz2 or .xz.
    Raises:
        OSError: it cannot be opened, or is none.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("rb")
        self._unpacked = _UNPACK[path.suffix](self._file)
        self._start = 0
        self._kept = b""

    def at(self, offset: int, size: int) -> bytes:
        """Return up to so many bytes from a place; places before the last one asked for cost a new start."""
        if offset < self._start:
            self._unpacked.seek(0)
            self._start, self._kept = 0, b""
        while self._start + len(self._kept) < offset + size and (more := self._next()):
            self._kept += more
            passed = min(offset - self._start, len(self._kept))
            self._start, self._kept = self._start + passed, self._kept[passed:]
        begin = offset - self._start
        return self._kept[begin : begin + size]

    def stat(self) -> os.stat_result:
        """Return what the file system says of the file."""
        return os.fstat(self._file.fileno())

    def close(self) -> None:
        """Close it."""
        self._unpacked.close()
        self._file.close()

    def _next(self) -> bytes:
        try:
            return self._unpacked.read(_UNPACK_BYTES)
        except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
            logger.warning("%s: cannot be decompressed further: %s", self._path, error)
            return b""


def opened(path: Path) -> Content:
    """Open a file, compressed or not, as its name says.

    Raises:
        OSError: it cannot be opened, or is no regular file.
    """
    return Packed(path) if path.suffix in _UNPACK else Plain(path)


def beside(path: Path) -> list[Path]:
    """Return the files of a path's folder whose names begin with its name, without itself."""
    folder = path.parent
    names = folder.iterdir() if folder.is_dir() else ()
    return sorted(name for name in names if name.name.startswith(path.name) and name != path)


def written_after(path: Path, inode: int, modified: int) -> list[Path]:
    """Return a path's rotated files that were written after one of them, in the order of writing.

    Args:
        path: which was rotated.
        inode: of the one; it need not be there any more.
        modified: nanoseconds of its last change.
    Returns:
        Not empty files; one that is there compressed and as it was counts once.
    """
    found = {name: status for name in beside(path) if (status := _status(path, name)) is not None}
    here = next((name for name, status in found.items() if status.st_ino == inode), None)
    after = _order(path, here, modified) if here else (modified + 1, 0, "")
    later = {
        name: _order(path, name, status.st_mtime_ns)
        for name, status in found.items()
        if status.st_size and not (name.suffix in _UNPACK and name.with_suffix("") in found)
    }
    return sorted((name for name, order in later.items() if order > after), key=later.__getitem__)


def _status(path: Path, name: Path) -> os.stat_result | None:
    if SUFFIX.fullmatch(name.name.removeprefix(path.name)) is None:
        return None
    try:
        status = name.stat()
    except OSError:
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def _order(path: Path, name: Path, modified: int) -> tuple[int, int, str]:
    """What sorts rotated files by writing: the clock's tick may be the same for several."""
    match = SUFFIX.fullmatch(name.name.removeprefix(path.name))
    number = match["number"] if match else ""
    counted = number.isdecimal() and len(number) < len("20261121")
    return (modified, -int(number), "") if counted else (modified, 0, number)
