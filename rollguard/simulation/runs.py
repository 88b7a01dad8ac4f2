"""One simulated rollout: how its release is, and what became of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from rollguard.state import Entry, State, Transition, fold
from rollguard.workers.announcements import holds_to_tell, is_told


@dataclass(frozen=True)
class Scenario:
    """How a release is.

    Args:
        worse: by how much: bad outcomes are so much more frequent (0-1), latencies so much longer, values so
            many standard deviations worse; 0 is a healthy one.
        begins: from when on, seconds since the new variant first serves.
    """

    worse: float = 0.0
    begins: float = 0.0


@dataclass
class Run:
    """What became of one rollout; times are seconds since its start, NaN for never.

    Args:
        state: by its ledger.
        messages: that people were sent.
        holds: how often it was held.
        held_seconds: for how long together.
        rolled_back: when.
        guard: which took it back.
        full: when its last stage began.
        enabled: when that was over.
        serving: when the new variant first served.
        excess: bad events that its being worse added until it was off.
        told: when people were last told of a guard's hold, Unix seconds.
    """

    state: State
    messages: int = 0
    holds: int = 0
    held_seconds: float = 0.0
    rolled_back: float = math.nan
    guard: str = ""
    full: float = math.nan
    enabled: float = math.nan
    serving: float = math.nan
    excess: float = 0.0
    told: dict[str, float] = field(default_factory=dict)

    def enter(self, transition: Transition, now: float) -> None:
        """Enter a decision as the ledger would, and count what people are told of it."""
        before = self.state
        entry = Entry(
            seq=before.newest + 1, at=now, rollout=before.rollout, run=transition.run, kind=transition.kind,
            from_status=before.status, from_stage=before.stage, to_status=transition.to_status,
            to_stage=transition.to_stage, actor=transition.actor, guard=transition.guard,
            reason=transition.reason, evidence=transition.evidence, previous_hash="", hash="",
        )  # fmt: skip
        told, self.told = holds_to_tell([entry], self.told)
        self.messages += sum(map(is_told, told))
        self.state = fold(before, entry)
