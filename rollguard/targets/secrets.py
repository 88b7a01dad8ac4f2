"""Secrets that targets need: one line in a file, read when needed, so that it may be replaced."""

from __future__ import annotations

from pathlib import Path

from rollguard.targets.interface import TargetError


def read(path: Path) -> str:
    """Return the secret in a file.

    Raises:
        TargetError: it cannot be read, is empty, or is no line of printable ASCII.
    """
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise TargetError(f"the secret in {path} cannot be read: {type(error).__name__}.") from error
    if not text or not text.isprintable():
        raise TargetError(f"{path} is expected to hold a secret, on one line.")
    return text
