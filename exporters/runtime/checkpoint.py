"""A checkpoint: counters, windows and the positions they were read to, written whole or not at all."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

logger = logging.getLogger(__name__)


class Checkpoint(msgspec.Struct, frozen=True):
    """What an exporter knew when it had read to some positions, and nothing of what comes after them.

    Args:
        exporter: whose it is.
        version: of the state's form; another version is not read.
        made_at: Unix seconds.
        positions: by source; null before it was first read.
        state: the exporter's own.
    """

    exporter: str
    version: int
    made_at: float
    positions: dict[str, msgspec.Raw]
    state: msgspec.Raw


class CheckpointFile:
    """The file that holds the last checkpoint; one exporter writes it.

    Args:
        path: beside it a file `path.tmp` is written first.
        exporter: whose checkpoints it holds.
        version: of the state's form.
    """

    def __init__(self, path: Path, exporter: str, version: int) -> None:
        self.path = path
        self._exporter = exporter
        self._version = version
        self._last_error = ""

    def load(self) -> Checkpoint | None:
        """Return the last checkpoint; None, with a warning, where it cannot be used."""
        try:
            checkpoint = msgspec.json.decode(self.path.read_bytes(), type=Checkpoint)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            self._refuse(str(error))
            return None
        if (checkpoint.exporter, checkpoint.version) != (self._exporter, self._version):
            self._refuse(f"it is {checkpoint.exporter}'s, version {checkpoint.version}")
            return None
        return checkpoint

    def save(self, made_at: float, positions: Mapping[str, object], state: bytes) -> bool:
        """Replace the checkpoint, durably.

        Args:
            made_at: Unix seconds.
            positions: which the state was read to, by source.
            state: JSON.
        Returns:
            Whether it was written; if not, the one before stands, and the reason is logged once.
        """
        places = {name: msgspec.Raw(msgspec.json.encode(position)) for name, position in positions.items()}
        whole = Checkpoint(self._exporter, self._version, made_at, places, msgspec.Raw(state))
        try:
            _replace(self.path, msgspec.json.encode(whole))
        except OSError as error:
            if str(error) != self._last_error:
                logger.error("%s: no checkpoint can be written: %s", self.path, error.strerror)
            self._last_error = str(error)
            return False
        self._last_error = ""
        return True

    def _refuse(self, reason: str) -> None:
        logger.warning("%s: checkpoint not used, counters start again: %s", self.path, reason)


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink()  # half a file would keep a full disk full
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
