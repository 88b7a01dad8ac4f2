"""JavaScript for tests and bench: installed by npm below .tools, as tests/js and tests/grafana lock it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from filelock import FileLock

SOURCE = Path(__file__).parent / "js"
PLACE = Path(__file__).parents[1] / ".tools" / "js"


class MissingNodeError(Exception):
    """The machine has no node or npm, or npm cannot install."""


def installed(script: str, source: Path = SOURCE, place: Path = PLACE) -> list[str]:
    """Return the command that runs a script; it installs what scripts need where it must.

    Args:
        script: its path within the source, or within what is installed.
        source: folder with scripts, package.json and its lock.
        place: where they are installed.
    Raises:
        MissingNodeError: it cannot be run here.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        raise MissingNodeError("node and npm are missing")
    place.mkdir(parents=True, exist_ok=True)
    with FileLock(place / "lock"):  # tests run in several processes
        _install(npm, source, place)
    return [node, str(place / script)]


def _install(npm: str, source: Path, place: Path) -> None:
    for file in source.iterdir():
        copy = place / file.name
        if not copy.exists() or copy.read_bytes() != file.read_bytes():
            shutil.copyfile(file, copy)
    lock, done = (source / "package-lock.json").read_bytes(), place / "done"
    if not done.exists() or done.read_bytes() != lock:
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        made = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
        if made.returncode:
            raise MissingNodeError(f"npm cannot install: {made.stderr.strip()[-300:]}")
        done.write_bytes(lock)
