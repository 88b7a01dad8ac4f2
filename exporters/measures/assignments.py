"""The arm of an event and the percent at which it was assigned, or why it is left out of evidence."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import NamedTuple, TypeAlias

import msgspec
import numpy as np

from rollguard.conventions import DISABLED, ENABLED, FALLBACK, ROLLBACK
from rollguard.exporters.measures.distances import Array
from rollguard.spec.rollout import Rollout

CANARY, BASELINE = "canary", "baseline"
ARMS = (CANARY, BASELINE)

MAX_PERCENTS = 20
"""Percents that are told apart; a rollout has fewer stages."""

MAX_STAGES = 100
"""Stage events that are kept, the newest ones."""

_LARGEST_UNIT = 1 << 64
_SPLIT, _NOT_SPLIT = "split", ("listed", "match")


class LeftOut(StrEnum):
    """Why an event is no evidence."""

    UNOPENED = "unopened"
    UNKNOWN_PERCENT = "unknown_percent"
    TOO_MANY_PERCENTS = "too_many_percents"
    NO_ARM = "no_arm"
    ODD_FIELD = "odd_field"
    NOT_SPLIT = "not_split"


class Place(NamedTuple):
    """Where an outcome is counted.

    Args:
        arm: one of ARMS.
        assigned: the percent at which the event was assigned, as a label has it.
    """

    arm: str
    assigned: str


Placed: TypeAlias = Place | LeftOut


class AssignmentsState(msgspec.Struct):
    """What is known of the stages, as it lies in a checkpoint.

    Args:
        stages: Unix seconds at which each began and its percent, None of one that is not known; ascending.
        percents: that have series, as labels have them.
        run: of the rollout, as the last stage event that named one did.
    """

    stages: list[tuple[float, float | None]] = []
    percents: list[str] = []
    run: str = ""


class Assignments:
    """The stages of a rollout, by which an event that does not say its percent finds it.

    Args:
        percents: of the stages by name, where a rollout file says them; they have series from the start.
        state: from a checkpoint; None for none.
    """

    def __init__(self, percents: Mapping[str, float], state: AssignmentsState | None = None) -> None:
        self._of_stage = percents
        self._state = state or AssignmentsState()
        for percent in percents.values():
            self._label(percent)

    def state(self) -> AssignmentsState:
        """Return what is known for a checkpoint."""
        return self._state

    @property
    def places(self) -> Iterator[Place]:
        """Where outcomes are counted by now, from zero on."""
        return (Place(arm, percent) for percent in self._state.percents for arm in ARMS)

    def begin(self, ts: float, stage: str, percent: object = None, run: object = None) -> bool:
        """Begin a stage.

        Args:
            ts: Unix seconds.
            stage: its name, by which the rollout file knows its percent.
            percent: as the event says it; None to look it up.
            run: of the rollout, as the event says it; None where it does not.
        Returns:
            Whether a new run begins with it: another `run`, or none and 0 %.
        """
        found = self._of_stage.get(stage) if percent is None else percent_of(percent)
        stages = self._state.stages
        newest = not stages or ts >= stages[-1][0]
        stages.insert(bisect_right(stages, ts, key=_began), (ts, found))
        del stages[:-MAX_STAGES]
        if found is not None:
            self._label(found)
        if not newest:
            return False
        named = unit_of(run) or ""
        begins = named != self._state.run if named else found == 0
        self._state.run = named or self._state.run
        return begins

    def place(self, arm: str | None, percent: object, assignment: object, opened_ts: object) -> Placed:
        """Return where the outcome of an event is counted.

        Args:
            arm: None where it is of neither.
            percent: at assignment, as the event says it; None to look it up.
            assignment: as the event says it; None means split.
            opened_ts: Unix seconds of the assignment, by which it is looked up.
        """
        if (odd := _not_split(assignment)) is not None:
            return odd
        if arm is None:
            return LeftOut.NO_ARM
        found: float | None
        if percent is not None:
            if (found := percent_of(percent)) is None:
                return LeftOut.ODD_FIELD
        elif opened_ts is None:
            return LeftOut.UNOPENED
        elif (moment := number_of(opened_ts)) is None:
            return LeftOut.ODD_FIELD
        else:
            found = self._percent_of(bisect_right(self._state.stages, moment, key=_began))
        return self._place(arm, found)

    def by_stage(self, times: Array) -> Iterator[tuple[int, Array]]:
        """Yield the number of each stage that moments lie in, for `place_in`, with those of its moments.

        Args:
            times: Unix seconds, shape (n,), some.
        """
        began = [ts for ts, _ in self._state.stages]
        first, last = (bisect_right(began, moment) for moment in (times.min(), times.max()))
        if first == last:
            yield first, np.arange(len(times))
            return
        stages = np.searchsorted(began, times, side="right")
        for stage in np.unique(stages).tolist():
            yield stage, np.flatnonzero(stages == stage)

    def place_in(self, arm: str | None, stage: int) -> Placed:
        """Return where what was assigned in a stage is counted; its number is of `by_stage`."""
        if arm is None:
            return LeftOut.NO_ARM
        return self._place(arm, self._percent_of(stage))

    def _percent_of(self, stage: int) -> float | None:
        return self._state.stages[stage - 1][1] if stage else None

    def _place(self, arm: str, percent: float | None) -> Placed:
        if percent is None:
            return LeftOut.UNKNOWN_PERCENT
        label = self._label(percent)
        return LeftOut.TOO_MANY_PERCENTS if label is None else Place(arm, label)

    def _label(self, percent: float) -> str | None:
        label = f"{percent + 0.0:.6f}".rstrip("0").rstrip(".")  # the sum has no -0
        known = self._state.percents
        if label not in known:
            if len(known) >= MAX_PERCENTS:
                return None
            known.append(label)
        return label


def percents_of_stages(rollout: Rollout) -> dict[str, float]:
    """Return the percents of a rollout's stages by name, and of what it is beside a run."""
    ends = {DISABLED: 0.0, ROLLBACK: 0.0, FALLBACK: 0.0, ENABLED: 100.0}
    return {stage.name: float(stage.share) for stage in rollout.stages} | ends


def percent_of(value: object) -> float | None:
    """Return a percent as an event says it; None where it is none."""
    found = number_of(value)
    return found if found is not None and 0 <= found <= 100 else None


def number_of(value: object) -> float | None:
    """Return a number as an event says it; None where it is none, or is beyond what a sum can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= 1e15:
        return None
    return float(value)


def unit_of(value: object) -> str | None:
    """Return a unit as an event says it, text or a whole number; None where it is neither."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    if isinstance(value, int) and not -_LARGEST_UNIT <= value < _LARGEST_UNIT:
        return None
    return str(value) or None


def _not_split(assignment: object) -> LeftOut | None:
    if assignment is None or assignment == _SPLIT:
        return None
    return LeftOut.NOT_SPLIT if assignment in _NOT_SPLIT else LeftOut.ODD_FIELD


def _began(stage: tuple[float, float | None]) -> float:
    return stage[0]
