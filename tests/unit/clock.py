"""Time for tests of what is in this process."""

from __future__ import annotations

from dataclasses import dataclass

NOW = 1_700_000_000.0


@dataclass
class Time:
    """A clock that stands still until a test moves it; Unix seconds."""

    now: float = NOW

    def __call__(self) -> float:
        return self.now
