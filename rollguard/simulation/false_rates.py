"""How often a guard fires though all is well: measured on its law, one guard and one share at a time."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass

import numpy as np

from rollguard.simulation.laws import Moment
from rollguard.simulation.reads import Traffic
from rollguard.simulation.watching import Watches
from rollguard.spec.guards import window
from rollguard.spec.rollout import Guard, Rollout

_VERSION = 1
_ROWS, _LOOKS = 4000, 600
_COHORT_ROWS, _COHORT_LOOKS = 2000, 300
_FINENESS = 10.0
"""Looks in the shortest window of a guard."""
_ENOUGH = 400
"""So many events say all that a person needs."""
_SIGMAS = 1.645
"""Of a one-sided interval of 95 %."""
_WEEK_SECONDS = 7 * 86_400.0
_RARE = 1e-4
"""What is rarer in a week is not measured."""


@dataclass(frozen=True)
class Rate:
    """How often a guard fires.

    Args:
        a_second: as it was measured; where `bounded`, at most.
        least: as it is at least, by what was measured.
        bounded: whether it follows from its law that it is so rare, so that nothing was measured.
    """

    a_second: float
    least: float
    bounded: bool = False

    def chance(self, seconds: float) -> float:
        """Return how likely it fires in so much time, 0-1."""
        return -math.expm1(-self.a_second * seconds)

    def least_chance(self, seconds: float) -> float:
        """Return the same, as it is at least."""
        return -math.expm1(-self.least * seconds)


class Subject:
    """A guard by threshold, and the laws of what it reads.

    Args:
        rollout: its file, with the laws.
        guard: itself.
    """

    def __init__(self, rollout: Rollout, guard: Guard) -> None:
        self._rollout = rollout
        self._guard = guard.model_copy(update={"scope": None, "clock": None})
        self._traffic, self._watches = self._watched(1, 60.0)

    @property
    def unknown(self) -> str:
        """Why it cannot be measured, in few words; empty where it can."""
        return self._watches.not_simulated.get(self._guard.name, "")

    def digest(self, share: float, seconds: float) -> str:
        """Return what `measure` depends on, as a fingerprint; arguments as there."""
        given = {
            "version": _VERSION,
            "guard": self._guard.model_dump(mode="json", include={"use", "with_", "for_"}),
            "laws": {key: law.model_dump(mode="json") for key, law in self._traffic.used.items()},
            "interval": self._rollout.scrape.interval,
            "share": share if self._traffic.share_matters else 0.0,
            "seconds": seconds if self._is_cohort else 0.0,
        }
        return hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()[:32]

    def measure(self, share: float, seconds: float) -> Rate:
        """Return how often it fires in a stage while all is well.

        Args:
            share: of the new variant, 0-1.
            seconds: how long the stage lasts, which matters where a gauge begins with it.
        """
        interval = self._rollout.scrape.interval
        rarely = self._watches.watches[0].likelihood(share)
        if rarely is not None and rarely * _WEEK_SECONDS / interval < _RARE:
            return Rate(rarely / interval, 0.0, bounded=True)
        spans = [window(self._guard), self._guard.for_]
        spans += [span for law in self._traffic.used.values() for span in (law.window, law.memory)]
        # As often as the rules are evaluated, or less often where all windows are long.
        step = max(interval, min(filter(None, spans), default=0.0) / _FINENESS)
        if self._is_cohort:
            step = max(step, seconds / _COHORT_LOOKS)
            return self._played(share, step, _COHORT_ROWS, math.ceil(seconds / step), 0)
        before = math.ceil((max(spans) + self._guard.for_) / step)
        return self._played(share, step, _ROWS, _LOOKS, before)

    @property
    def _is_cohort(self) -> bool:
        """Whether a gauge begins with the stage."""
        return any(law.source and not law.like and not law.window for law in self._traffic.used.values())

    def _watched(self, rows: int, step: float) -> tuple[Traffic, Watches]:
        traffic = Traffic(self._rollout, rows, np.random.default_rng(1), step, 1)
        return traffic, Watches(self._rollout, traffic, guards=(self._guard,))

    def _played(self, share: float, step: float, rows: int, looks: int, before: int) -> Rate:
        """Return how often it fires in so many looks, after some that fill the windows."""
        traffic, watches = self._watched(rows, step)
        watch = watches.watches[0]
        watch.armed_at[:] = True
        never, nowhere, shares = np.zeros(rows), np.zeros(rows, dtype=np.int64), np.full(rows, share)
        fired, seconds = np.zeros(rows, dtype=np.bool_), 0.0
        for look in range(1, before + looks + 1):
            moment = Moment(look * step, step, 1, shares, never, np.full(rows, look == 1))
            traffic.draw(moment)
            watch.look(moment, nowhere, moment.at)
            if look > before:
                seconds += step * float(rows - fired.sum())
                fired |= watch.fired
            if before and fired.sum() >= _ENOUGH:
                break
        events = int(fired.sum())
        least = max(0.0, events - _SIGMAS * math.sqrt(events))
        return Rate(events / seconds, least / seconds)
