"""The state of a rollout, which is the fold of its ledger entries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from rollguard import conventions

Status: TypeAlias = Literal["DISABLED", "ROLLING_OUT", "ENABLED", "ROLLBACK"]
Kind: TypeAlias = Literal[
    "start",
    "define",
    "approve",
    "promote",
    "pause",
    "resume",
    "hold",
    "release",
    "overdue",
    "extend",
    "step_back",
    "rollback",
    "would_rollback",
    "acknowledge",
    "drill",
    "drill_flip",
    "drill_end",
    "archive",
]

MOVES: tuple[Kind, ...] = ("start", "promote", "step_back", "rollback")
"""The kinds of entries that change where a rollout is; the others leave flag and targets alone."""


GUARD = "guard"
"""The actor of what guards decide."""

CASCADE = "cascade"
"""The actor of a rollback that follows from that of a rollout which is required."""

CLOCK = "advance"
"""The actor of what happens because time has passed: promotions, releases, deadlines."""

FILE = "rollout file"
"""The actor of what follows from a change of the rollout file."""

DEADLINE = "deadline"
"""What holds a rollout, or takes it back, where no guard does; guards' names are in CamelCase."""

BLIND = "blind"
"""What holds a rollout, or takes it back, where nobody watches it any more."""


@dataclass(frozen=True)
class Drill:
    """How far a drill of the alerting is; times are Unix seconds.

    Args:
        asked_at: when somebody asked for it.
        starts_at: when its alert began to fire.
        received_at: when the control plane heard of that.
        flipped_at: when it flipped the drill's flag; None before.
    """

    asked_at: float
    starts_at: float = 0.0
    received_at: float = 0.0
    flipped_at: float | None = None


@dataclass(frozen=True)
class State:
    """Where a rollout is.

    Args:
        rollout: its name.
        status: the flag's state in the field's words.
        stage: the stage's name while ROLLING_OUT; None otherwise.
        run: number of its starts; 0 before the first.
        entered_at: when status or stage began, Unix seconds.
        reason: why it is here: a guard's name or a person's words.
        rolled_back_at: when it last went back, Unix seconds; the cooldown counts from it.
        seq: the ledger entry that led here; 0 before the first.
        started_at: when the run began, Unix seconds.
        noted: guards that fired in this run of a rollout in mode observe, and were noted.
        guard: the guard that led here; None where a person did.
        newest: its last ledger entry, whatever that changed; never below `seq`.
        paused_by: who took the guards' and the clock's hands off; empty while nobody has.
        acknowledged: False from a rollback, or a step back, until somebody has looked at it.
        stepped_back: whether this run has gone back a stage; the next breach ends it.
        excused: guards that fired as it went back a stage: until the cooldown is over they may echo.
        held: guards that hold it: each until it was false with data for its `clear_for`.
        approved: the stage that a person has let begin; empty where nobody has.
        overdue: whether the stage has passed its deadline, and that was said.
        extended: how often the stage has ended in EXTEND.
        hold_changed: by guard, when it last began to hold the stage or ceased to, Unix seconds.
        resumed_at: when a pause of this stage last ended, Unix seconds; 0 where there was none.
        clock_from: since when the stage's hold counts, Unix seconds.
        clock_until: when a pause or a guard's hold stopped it, Unix seconds; None while it counts.
        clock_earlier: begins and ends of the times before, in which it counted, too; Unix seconds.
        drill: a drill that nobody has ended; it changes nothing else.
        drilled_at: when a drill last passed, Unix seconds.
        definition: of the run, as the rollout file had it, JSON; empty where an older release started it.
    """

    rollout: str
    status: Status = "DISABLED"
    stage: str | None = None
    run: int = 0
    entered_at: float = 0.0
    reason: str = ""
    rolled_back_at: float | None = None
    seq: int = 0
    started_at: float = 0.0
    noted: frozenset[str] = frozenset()
    guard: str | None = None
    newest: int = 0
    paused_by: str = ""
    acknowledged: bool = True
    stepped_back: bool = False
    excused: frozenset[str] = frozenset()
    held: frozenset[str] = frozenset()
    approved: str = ""
    overdue: bool = False
    extended: int = 0
    hold_changed: Mapping[str, float] = field(default_factory=dict)
    resumed_at: float = 0.0
    clock_from: float = 0.0
    clock_until: float | None = None
    clock_earlier: tuple[tuple[float, float], ...] = ()
    drill: Drill | None = None
    drilled_at: float | None = None
    definition: str = ""

    @property
    def position(self) -> str:
        """The value of the label ``rollout_stage``: the stage's name, or that of the state without one."""
        if self.status == "ROLLING_OUT" and self.stage is not None:
            return self.stage
        named = {"ENABLED": conventions.ENABLED, "ROLLBACK": conventions.ROLLBACK}
        return named.get(self.status, conventions.DISABLED)

    @property
    def cause(self) -> str:
        """What led here, to follow a verb: ``by`` its guard, or a person's words in parentheses."""
        return f"by {self.guard}" if self.guard else f"({self.reason or 'no reason given'})"

    def counted(self, now: float) -> tuple[tuple[float, float], ...]:
        """Return begins and ends of the times in which the stage's clock counted so far, Unix seconds."""
        until = now if self.clock_until is None else self.clock_until
        return (*self.clock_earlier, (self.clock_from, until))

    def counts_from(self, guard: str) -> float:
        """Return since when it counts that a guard fired and has resolved, Unix seconds.

        What a pause passed over is over when it ends, and what a guard held for ends with its hold.
        """
        return max(self.entered_at, self.resumed_at, self.hold_changed.get(guard, 0.0))

    @property
    def running(self) -> bool:
        """Whether a run is under way, which a rollback would end."""
        return self.status in ("ROLLING_OUT", "ENABLED")


@dataclass(frozen=True)
class Transition:
    """A decision about one rollout, not yet in the ledger.

    Args:
        rollout: its name.
        kind: ``would_rollback`` is recorded and changes nothing (mode observe).
        run: the run it belongs to; a start opens the next one.
        to_status: status afterwards.
        to_stage: stage afterwards; None outside ROLLING_OUT.
        actor: ``guard``, ``advance``, ``cascade`` or a person's name.
        guard: the guard that decided; None where a person or the clock did.
        reason: the guard's name or the person's words.
        evidence: what was known, as plain JSON data: labels, annotations, how it became known.
    """

    rollout: str
    kind: Kind
    run: int
    to_status: Status
    to_stage: str | None = None
    actor: str = GUARD
    guard: str | None = None
    reason: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """A transition as the ledger keeps it: numbered, dated, chained by hash to the entry before it."""

    seq: int
    at: float
    rollout: str
    run: int
    kind: Kind
    from_status: Status
    from_stage: str | None
    to_status: Status
    to_stage: str | None
    actor: str
    guard: str | None
    reason: str
    evidence: Mapping[str, Any]
    previous_hash: str
    hash: str


def fold(state: State, entry: Entry) -> State:
    """Return the state after an entry of the same rollout."""
    changed = _moved(state, entry) if entry.kind in MOVES else replace(state, **_marked(state, entry))
    return replace(changed, newest=entry.seq)


def _moved(state: State, entry: Entry) -> State:
    """Return the state elsewhere: what concerned the place before is gone."""
    begins, back = entry.kind == "start", entry.kind in ("step_back", "rollback")
    return State(
        state.rollout,
        status=entry.to_status,
        stage=entry.to_stage,
        run=entry.run,
        entered_at=entry.at,
        reason=entry.reason,
        rolled_back_at=entry.at if back else state.rolled_back_at,
        seq=entry.seq,
        started_at=entry.at if begins else state.started_at,
        noted=frozenset() if begins else state.noted,
        guard=entry.guard,
        acknowledged=not back,
        clock_from=entry.at,
        drill=state.drill,
        drilled_at=state.drilled_at,
        definition=str(entry.evidence.get("definition", "")) if begins else state.definition,
        stepped_back=entry.kind == "step_back" or (state.stepped_back and not begins),
        excused=frozenset([entry.guard or "", *entry.evidence.get("also_firing", ())])
        if back
        else frozenset(),
    )


def _marked(state: State, entry: Entry) -> dict[str, Any]:
    """Return what an entry changes that leaves the rollout where it is."""
    told, changes = entry.evidence, dict[str, Any]()
    match entry.kind:
        case "define":
            changes = {"definition": str(told["definition"])}
        case "approve":
            changes = {"approved": told["stage"]}
        case "pause":
            changes = {"paused_by": entry.actor}
        case "resume":
            changes = {"paused_by": "", "resumed_at": entry.at}
        case "hold":
            changes = _held(state, state.held | set(told["guards"]), entry.at)
        case "overdue":
            changes = {"overdue": True}
        case "extend":
            changes = {"extended": state.extended + 1}
        case "would_rollback":
            changes = {"noted": state.noted | {entry.guard or ""}}
        case "acknowledge":
            changes = {"acknowledged": True}
        case "drill" | "drill_flip" | "drill_end":
            changes = _drilled(state, entry)
    if entry.kind in ("release", "acknowledge") and told.get("guards"):
        changes |= _held(state, state.held - set(told["guards"]), entry.at)
    return changes | _clock(replace(state, **changes), entry.at)


def _drilled(state: State, entry: Entry) -> dict[str, Any]:
    """Return what an entry of a drill changes."""
    told = entry.evidence
    if entry.kind == "drill":
        return {"drill": Drill(entry.at)}
    if entry.kind == "drill_end":
        return {"drill": None, "drilled_at": entry.at if told["passed"] else state.drilled_at}
    if state.drill is None:
        return {}
    times = {key: float(told[key]) for key in ("starts_at", "received_at")}
    return {"drill": replace(state.drill, flipped_at=entry.at, **times)}


def _held(state: State, held: frozenset[str], at: float) -> dict[str, Any]:
    """Return who holds the stage from now on."""
    return {"held": held, "hold_changed": {**state.hold_changed, **dict.fromkeys(state.held ^ held, at)}}


def _clock(state: State, at: float) -> dict[str, Any]:
    """Return how the stage's clock stops, or goes on: it stands still in a pause, and while a guard holds."""
    stops = bool(state.paused_by or state.held)
    if stops == (state.clock_until is not None):
        return {}
    if stops:
        return {"clock_until": at}
    earlier = (*state.clock_earlier, *state.counted(at)[-1:])
    return {"clock_from": at, "clock_until": None, "clock_earlier": earlier}
