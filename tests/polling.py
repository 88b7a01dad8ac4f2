"""Waiting for what other processes and threads do: by looking, with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest


def eventually(
    condition: Callable[[], Any], what: str = "what should happen", seconds: float = 30.0, every: float = 0.02
) -> Any:
    """Return the first true result of a condition, or fail saying what was waited for."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"waited {seconds:g} s in vain for: {what}")
        time.sleep(every)
    return found
