"""What every kind of test shares."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rollguard import binaries


@pytest.fixture(scope="session")
def need_binary() -> Callable[[binaries.Binary], str]:
    """Return a function that finds a program; where it is missing, CI fails and a person's run skips."""

    def need(binary: binaries.Binary) -> str:
        try:
            return binaries.find(binary)
        except binaries.BinaryError as error:
            if os.environ.get("CI"):
                pytest.fail(str(error))
            pytest.skip(f"needs {binary.name}: {error}")

    return need


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of a mebibyte, which is soon full."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode and os.environ.get("CI") and os.geteuid() == 0:
        pytest.fail(f"cannot mount a small disk: {result.stderr}")
    if result.returncode:
        pytest.skip(f"mount: {result.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
