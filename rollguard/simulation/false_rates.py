"""How often a guard fires though all is well: measured on its law, one guard and one share at a time."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from rollguard.simulation.laws import Moment
from rollguard.simulation.reads import Traffic
from rollguard.simulation.watching import Watch, Watches
from rollguard.spec.guards import window
from rollguard.spec.rollout import Guard, Rollout

_VERSION = 1
_ROWS, _BLOCK_LOOKS, _MOST_BLOCKS = 4000, 150, 4
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


def unknown(rollout: Rollout, guard: Guard) -> str:
    """Return why a guard cannot be measured, in few words; nothing where it can."""
    return _watched(rollout, guard, 1, 60.0)[1].not_simulated.get(guard.name, "")


def digest(rollout: Rollout, guard: Guard, share: float, seconds: float) -> str:
    """Return what `measure` depends on, as a fingerprint; arguments as there."""
    traffic, _ = _watched(rollout, guard, 1, 60.0)
    lasts = seconds if _is_cohort(traffic) else 0.0
    given = {
        "version": _VERSION,
        "guard": guard.model_dump(mode="json", include={"use", "with_", "for_"}),
        "laws": {key: law.model_dump(mode="json") for key, law in traffic.used.items()},
        "interval": rollout.scrape.interval,
        "share": share,
        "seconds": lasts,
    }
    return hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()[:32]


def measure(rollout: Rollout, guard: Guard, share: float, seconds: float) -> Rate:
    """Return how often a guard fires in a stage while all is well.

    Args:
        rollout: its file, with the laws.
        guard: which has a law.
        share: of the new variant, 0-1.
        seconds: how long the stage lasts, which matters where a gauge begins with it.
    """
    traffic, watches = _watched(rollout, guard, 1, 60.0)
    step = _step(rollout, guard, traffic)
    rarely = watches.watches[0].likelihood(share)
    if rarely is not None and rarely * _WEEK_SECONDS / rollout.scrape.interval < _RARE:
        return Rate(rarely / rollout.scrape.interval, 0.0, bounded=True)
    if _is_cohort(traffic):
        step = max(step, seconds / _COHORT_LOOKS)
        return _Measured(rollout, guard, share, step, _COHORT_ROWS).play(math.ceil(seconds / step), 0)
    before = math.ceil(max([guard.for_ + window(guard), *_windows(traffic)]) / step)
    return _Measured(rollout, guard, share, step, _ROWS).play(_BLOCK_LOOKS * _MOST_BLOCKS, before)


class _Measured:
    """Many rollouts that stay in a stage."""

    def __init__(self, rollout: Rollout, guard: Guard, share: float, step: float, rows: int) -> None:
        self._traffic, watches = _watched(rollout, guard, rows, step)
        self._watch: Watch = watches.watches[0]
        self._watch.armed_at[:] = True
        self._step, self._share, self._rows = step, np.full(rows, share), rows

    def play(self, looks: int, before: int) -> Rate:
        """Return how often it fires in so many looks, after some that fill the windows."""
        never, nowhere = np.zeros(self._rows), np.zeros(self._rows, dtype=np.int64)
        fired, seconds = np.zeros(self._rows, dtype=np.bool_), 0.0
        for look in range(1, before + looks + 1):
            entered = np.full(self._rows, look == 1)
            moment = Moment(look * self._step, self._step, 1, self._share, never, entered)
            self._traffic.draw(moment)
            self._watch.look(moment, nowhere, moment.at)
            if look <= before:
                continue
            seconds += self._step * float(self._rows - fired.sum())
            fired |= self._watch.fired
            if (look - before) % _BLOCK_LOOKS == 0 and fired.sum() >= _ENOUGH and before:
                break
        events = int(fired.sum())
        least = max(0.0, events - _SIGMAS * math.sqrt(events))
        return Rate(events / seconds, least / seconds)


def _watched(rollout: Rollout, guard: Guard, rows: int, step: float) -> tuple[Traffic, Watches]:
    alone = rollout.model_copy(update={"guards": (guard,), "clock": None})
    traffic = Traffic(alone, rows, np.random.default_rng(1), step, 1)
    return traffic, Watches(alone, traffic, only=frozenset({guard.name}))


def _is_cohort(traffic: Traffic) -> bool:
    """Return whether a gauge begins with the stage."""
    return any(law.source and not law.like and not law.window for law in traffic.used.values())


def _windows(traffic: Traffic) -> list[float]:
    laws: list[Any] = list(traffic.used.values())
    return [seconds for law in laws for seconds in (law.window, law.memory) if seconds]


def _step(rollout: Rollout, guard: Guard, traffic: Traffic) -> float:
    """Return the seconds between two looks: as the rules are evaluated, or fewer where windows are long."""
    spans = [seconds for seconds in (window(guard), guard.for_, *_windows(traffic)) if seconds]
    return max(rollout.scrape.interval, min(spans, default=0.0) / _FINENESS)
