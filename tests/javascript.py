"""JavaScript clients for tests and bench: installed once by npm into .tools/js, as tests/js locks them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from filelock import FileLock

SOURCE = Path(__file__).parent / "js"
PLACE = Path(__file__).parents[1] / ".tools" / "js"


class MissingNodeError(Exception):
    """The machine has no node or npm, or npm cannot install."""


def installed(script: str) -> list[str]:
    """Return the command that runs a script of tests/js; it installs what scripts need where it must.

    Raises:
        MissingNodeError: it cannot be run here.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        raise MissingNodeError("node and npm are missing")
    PLACE.mkdir(parents=True, exist_ok=True)
    with FileLock(PLACE / "lock"):  # tests run in several processes
        _install(npm)
    return [node, str(PLACE / script)]


def _install(npm: str) -> None:
    for source in SOURCE.iterdir():
        copy = PLACE / source.name
        if not copy.exists() or copy.read_bytes() != source.read_bytes():
            shutil.copyfile(source, copy)
    lock, done = (SOURCE / "package-lock.json").read_bytes(), PLACE / "done"
    if not done.exists() or done.read_bytes() != lock:
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        made = subprocess.run(command, cwd=PLACE, capture_output=True, text=True, check=False)
        if made.returncode:
            raise MissingNodeError(f"npm cannot install: {made.stderr.strip()[-300:]}")
        done.write_bytes(lock)
