"""The servers and tools that are not Python: found, new enough, or named with what to do."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rollguard.errors import RollguardError

_UNPACKED = Path(__file__).resolve().parents[2] / ".tools" / "bin"
"""Where `make setup` puts what the machine lacks."""


class BinaryError(RollguardError):
    """A program is missing or too old."""


@dataclass(frozen=True)
class Binary:
    """A program that Rollguard starts.

    Args:
        name: as people call it.
        commands: what it may be called on a machine, the usual one first.
        minimum: the oldest version that works, as (major, minor).
        package: Debian's package.
    """

    name: str
    commands: tuple[str, ...]
    minimum: tuple[int, int]
    package: str


PROMETHEUS = Binary("prometheus", ("prometheus",), (2, 42), "prometheus")
PROMTOOL = Binary("promtool", ("promtool",), (2, 42), "prometheus")
ALERTMANAGER = Binary(
    "alertmanager", ("alertmanager", "prometheus-alertmanager"), (0, 25), "prometheus-alertmanager"
)
AMTOOL = Binary("amtool", ("amtool",), (0, 25), "prometheus-alertmanager")


@cache
def find(binary: Binary) -> str:
    """Return the path of a program that is new enough.

    Args:
        binary: what is looked for: on PATH, then where `make setup` unpacks it.
    Returns:
        An absolute path.
    Raises:
        BinaryError: says which version was found where, and what to install.
    """
    rejected = []
    for command in binary.commands:
        for folder in (None, str(_UNPACKED)):
            path = shutil.which(command, path=folder)
            if path is None:
                continue
            version = _version(path)
            if version is not None and version >= binary.minimum:
                return path
            shown = ".".join(map(str, version)) if version else "unknown"
            rejected.append(f"{path} is version {shown}")
    wanted = ".".join(map(str, binary.minimum))
    found = f": {'; '.join(rejected)}" if rejected else ""
    raise BinaryError(
        f"{binary.name} {wanted} or newer was not found{found}.\n"
        f"  Run `make setup`, or install it: apt-get install {binary.package}"
    )


def _version(path: str) -> tuple[int, int] | None:
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"version (\d+)\.(\d+)", done.stdout + done.stderr)
    return (int(match[1]), int(match[2])) if match else None
