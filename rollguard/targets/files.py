"""Replacing a file that others read: locked, atomic, durable, and never over somebody else's change."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from rollguard.targets.interface import TargetError

LOCK_SECONDS = 10.0

_locks: dict[Path, tuple[threading.Lock, FileLock]] = {}


def read(path: Path) -> bytes | None:
    """Return a file's content; None where there is no file.

    Raises:
        TargetError: it cannot be read, or is no regular file.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise TargetError(f"{path} is not a regular file.")
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise TargetError(f"{path} cannot be read: {error.strerror}.") from error


def replace(path: Path, change: Callable[[bytes | None], bytes]) -> bool:
    """Replace a file's content by what a function makes of it; readers see the old or the new, whole.

    A symbolic link stays and what it points to is replaced; mode and owner are kept. Writers that use this
    function wait for one another. Whoever writes without the lock is noticed until the moment of the rename.

    Args:
        path: the file; a missing folder is created.
        change: from the content, or None where there is no file, to the content that should be there.
    Returns:
        Whether it was written; equal content is left alone.
    Raises:
        TargetError: the file is unchanged.
    """
    real = Path(os.path.realpath(path))
    try:
        with locked(real):
            before = read(real)
            after = change(before)
            if after != before:
                _write(real, before, after)
            return after != before
    except OSError as error:
        raise TargetError(f"{path} cannot be written: {error.strerror or error}.") from error


@contextmanager
def locked(real: Path) -> Iterator[None]:
    """Hold a file's lock in this process, and the one across processes, which alone would be unfair.

    Raises:
        TargetError: somebody else holds it all the time.
    """
    try:
        real.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TargetError(f"{real.parent} cannot be made: {error.strerror}.") from error
    lock, across = _locks.get(real) or _locks.setdefault(real, (threading.Lock(), _lock_across(real)))
    if not lock.acquire(timeout=LOCK_SECONDS):
        raise TargetError(f"{real} is being written by this process for over {LOCK_SECONDS:g} s.")
    try:
        with across:
            yield
    except Timeout as error:
        raise TargetError(f"{real} is locked by another process for over {LOCK_SECONDS:g} s.") from error
    finally:
        lock.release()


def _lock_across(real: Path) -> FileLock:
    return FileLock(real.with_name(f".{real.name}.lock"), timeout=LOCK_SECONDS, poll_interval=0.01)


def _write(real: Path, before: bytes | None, after: bytes) -> None:
    temporary = real.with_name(f".{real.name}.tmp")  # one name: what a crash leaves behind is used up later
    temporary.unlink(missing_ok=True)
    try:
        _write_new(temporary, real, after)
        if read(real) != before:
            raise TargetError(f"{real} was changed by somebody else meanwhile; it is left as it is.")
        temporary.replace(real)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    sync_folder(real.parent)


def _write_new(temporary: Path, real: Path, content: bytes) -> None:
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    with os.fdopen(descriptor, "wb") as file:
        with suppress(FileNotFoundError):
            _resemble(descriptor, real.stat())
        file.write(content)
        file.flush()
        with suppress(FileNotFoundError):
            _be_newer(temporary, real)
        os.fsync(descriptor)


def _resemble(descriptor: int, old: os.stat_result) -> None:
    new = os.fstat(descriptor)
    if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
        os.fchown(descriptor, old.st_uid, old.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(old.st_mode))


def _be_newer(temporary: Path, real: Path) -> None:
    """Keep the time of change rising where the clock was set back: clients load a newer file only."""
    old, new = real.stat().st_mtime_ns, temporary.stat().st_mtime_ns
    if new <= old:
        os.utime(temporary, ns=(new, old + 1_000_000))


def sync_folder(folder: Path) -> None:
    """Wait until a folder's entries are on disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
