"""Prometheus, Alertmanager and their tools in several versions: the machine's, and those of newer suites."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rollguard.generators.tools import binaries

MACHINE = "machine"
VERSIONS = (MACHINE, "trixie", "sid")
OTHERS_SLOW = (MACHINE, *(pytest.param(version, marks=pytest.mark.slow) for version in VERSIONS[1:]))
"""The same, of which `make test` runs the machine's."""

_FOLDER = Path(__file__).parents[1] / ".tools" / "versions"


def program(version: str, binary: binaries.Binary) -> str:
    """Return the path of a program; where it is missing, CI fails and a person's run skips."""
    path = _FOLDER / version / "bin" / binary.name
    try:
        found = binaries.find(binary) if version == MACHINE else str(path)
    except binaries.BinaryError as error:
        found = str(error)
    if not os.access(found, os.X_OK):
        text = f"{binary.name} of {version} is missing; `make versions` fetches it"
        pytest.fail(text) if os.environ.get("CI") else pytest.skip(text)
    return found


def use(monkeypatch: pytest.MonkeyPatch, version: str, *wanted: binaries.Binary) -> None:
    """Have programs be found in one version."""
    paths = {binary: program(version, binary) for binary in wanted}
    found = binaries.find
    monkeypatch.setattr(binaries, "find", lambda binary: paths.get(binary) or found(binary))
