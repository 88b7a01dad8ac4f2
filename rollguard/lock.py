"""A lock that ends with its process, however that ends, and says who holds it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rollguard.errors import RollguardError


class LockError(RollguardError):
    """Another process holds the lock, or the file system has none."""


@contextmanager
def locked(path: Path, what: str, holder: str, instead: str) -> Iterator[None]:
    """Hold a lock while this lasts; the file stays, the lock does not outlive the process.

    Args:
        path: the lock file, made where there is none; it holds the number of the process.
        what: what is locked, for the error.
        holder: what another process that holds it is, for the error.
        instead: what to do where that one must go on, for the error.
    Raises:
        LockError: another process holds it.
    """
    try:
        # Not filelock: it empties the file before it knows whether the lock is free.
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise LockError(f"{path} cannot be opened: {error.strerror}.") from error
    try:
        _take(file, path, what, holder, instead)
        yield
    finally:
        os.close(file)


def _take(file: int, path: Path, what: str, holder: str, instead: str) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        number = os.pread(file, 20, 0).decode("ascii", "replace").strip() or "unknown"
        raise LockError(
            f"{what} is in use by another {holder}, process {number}.\n  Stop that one, or {instead}."
        ) from error
    except OSError as error:
        raise LockError(f"{path} cannot be locked: {error.strerror}.") from error
    with suppress(OSError):  # on a full disk the lock holds all the same
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
