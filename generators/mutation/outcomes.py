"""What became of mutants, one by one and counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from rollguard.generators.mutation.mutants import Kind

Status: TypeAlias = Literal["killed", "survived", "equivalent", "tolerated", "falsely declared"]

LARGEST_EQUIVALENT_SHARE = 0.03
"""Of all mutants, what rollout files may declare; the library's own declarations are not theirs to mend."""
LEAST_KILLED_SHARE = 0.95


@dataclass(frozen=True)
class Outcome:
    """What became of one mutant, or of a declaration that no mutant answers to."""

    path: Path
    line: int
    guard: str
    kind: Kind | None
    mutation: str
    status: Status
    reason: str = ""
    diff: str = ""
    own: bool = False
    """Whether the rollout file declares it, not the library."""


@dataclass(frozen=True)
class Figures:
    """How many mutants there are of each sort; those that Prometheus refuses are none."""

    total: int
    killed: int
    equivalent: int
    survived: int
    own_equivalent: int

    @property
    def killed_share(self) -> float:
        """Killed mutants among those that are not equivalent, 0-1."""
        noticeable = self.total - self.equivalent
        return self.killed / noticeable if noticeable else 1.0

    @property
    def equivalent_share(self) -> float:
        """Equivalent mutants among all, 0-1."""
        return self.equivalent / self.total if self.total else 0.0

    @property
    def own_equivalent_share(self) -> float:
        """Mutants that rollout files declare equivalent among all, 0-1."""
        return self.own_equivalent / self.total if self.total else 0.0

    @classmethod
    def of(cls, found: Sequence[Outcome]) -> Figures:
        """Return what became of mutants, counted."""
        statuses = [outcome.status for outcome in found if outcome.kind]
        killed, equivalent = statuses.count("killed"), statuses.count("equivalent")
        own = sum(outcome.own for outcome in found if outcome.status == "equivalent")
        return cls(len(statuses), killed, equivalent, len(statuses) - killed - equivalent, own)
