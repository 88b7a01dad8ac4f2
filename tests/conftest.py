"""What every kind of test shares."""

from __future__ import annotations

import os
from collections.abc import Callable

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
