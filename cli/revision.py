"""Rollout files as they were at a revision, read from git without a shell and without a work tree."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from rollguard.errors import RollguardError
from rollguard.spec import sets

_TIMEOUT_SECONDS = 60
_FILE_MODES = ("100644", "100755")


class RevisionError(RollguardError):
    """A revision cannot be read."""


@contextmanager
def files_at(revision: str, rollouts: Path) -> Iterator[Path]:
    """Yield a folder that holds the rollout files and guard sets of a revision, of the same names.

    Args:
        revision: whatever git takes for a commit.
        rollouts: a folder in a work tree, or one file.
    Raises:
        RevisionError: git is missing, there is no repository, or it has no such revision.
    """
    folder, only = (rollouts, "") if rollouts.is_dir() else (rollouts.parent, rollouts.name)
    commit = _commit(folder, revision)
    with TemporaryDirectory(prefix="rollguard-") as temporary:
        _copy(folder, commit, only, Path(temporary))
        _copy(folder, commit, "", Path(temporary), f"{sets.FOLDER}/")
        yield Path(temporary)


def _copy(folder: Path, commit: str, only: str, to: Path, under: str = "") -> None:
    for name in _names(folder, commit, under):
        if name.endswith((".yaml", ".yml")) and (not only or name == only):
            (to / under).mkdir(exist_ok=True)
            (to / under / name).write_bytes(_git(folder, "show", f"{commit}:./{under}{name}"))


def _commit(folder: Path, revision: str) -> str:
    try:
        _git(folder, "rev-parse", "--git-dir")
    except RevisionError as error:
        raise RevisionError(f"{folder} is in no git repository: {error}") from error
    try:
        found = _git(folder, "rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}")
    except RevisionError as error:
        raise RevisionError(
            f"{revision} is no revision of this repository. Try HEAD~1 or a branch."
        ) from error
    return found.decode().strip()


def _names(folder: Path, commit: str, under: str) -> Iterator[str]:
    """Yield the names of the plain files of a folder, without those of folders in it."""
    for line in (
        _git(folder, "ls-tree", "-z", commit, "--", f"./{under}").decode(errors="replace").split("\0")
    ):
        kind, _, name = line.partition("\t")
        if kind[:6] in _FILE_MODES:
            yield PurePosixPath(name).name


def _git(folder: Path, *arguments: str) -> bytes:
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_TIMEOUT_SECONDS, check=False)
    except FileNotFoundError as error:
        raise RevisionError("git is not installed.") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RevisionError(f"git did not answer: {error}.") from error
    if done.returncode:
        raise RevisionError(done.stderr.decode(errors="replace").strip() or "git failed.")
    return done.stdout
