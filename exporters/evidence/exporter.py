"""The exporter of evidence: at each look, what Prometheus counted becomes evidence for every guard."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import numpy as np

from rollguard.exporters.evidence import metrics
from rollguard.exporters.evidence.evaluator import GuardState, Look
from rollguard.exporters.evidence.judged import Judged, judged
from rollguard.exporters.evidence.looks import LookSource
from rollguard.exporters.exposition.families import Family
from rollguard.exporters.measures import dispersion
from rollguard.exporters.runtime.follower import Input
from rollguard.metric import Metric
from rollguard.monitoring.prometheus import Prometheus
from rollguard.spec.rollout import Rollout

logger = logging.getLogger(__name__)

ARMS = ("baseline", "canary")


class RunState(msgspec.Struct):
    """What is known of one run of a rollout.

    Args:
        run: its number; None while none is on.
        guards: by name.
    """

    run: int | None = None
    guards: dict[str, GuardState] = {}


class EvidenceState(msgspec.Struct):
    """Everything that a checkpoint holds: by rollout."""

    runs: dict[str, RunState] = {}


class EvidenceExporter:
    """Judges the guards by evidence of some rollouts.

    Args:
        rollouts: checked; those without such a guard are passed over.
        prometheus: which has the counters.
        interval: seconds between two looks.
        scale: what durations are divided by.
        clock: Unix seconds.
    """

    name = "evidence"
    title = "evidence"
    version = 2

    def __init__(
        self,
        rollouts: Sequence[Rollout],
        prometheus: Prometheus,
        interval: float,
        *,
        scale: float = 1.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._judged = {rollout.name: found for rollout in rollouts if (found := judged(rollout))}
        self._source = LookSource(prometheus, self._judged, interval, scale=scale, clock=clock)
        self._state = EvidenceState()
        self._scale = scale
        self.newest: float | None = None

    def inputs(self) -> Sequence[Input[Any]]:
        """Return Prometheus."""
        return [Input(self._source, self.feed)]

    def feed(self, looks: dict[str, Look]) -> None:
        """Take in one look at each rollout.

        Args:
            looks: by rollout.
        """
        for name, look in looks.items():
            run = self._state.runs.setdefault(name, RunState())
            if look.run not in {0, run.run}:
                run = self._state.runs[name] = RunState(look.run)
            if run.run is None:
                continue
            for one in self._judged[name]:
                guard = run.guards.setdefault(one.guard, GuardState())
                before = guard.trouble
                guard.look(one, look)
                if guard.trouble and guard.trouble != before:
                    logger.warning("%s: guard %s has no evidence: %s", name, one.guard, guard.trouble)
            self.newest = look.at / self._scale

    def families(self, end: float) -> Iterator[Family]:
        """Yield the evidence of the last look, whenever it is asked (`end`)."""
        found: dict[Metric, dict[tuple[str, ...], float]] = {metric: {} for metric in metrics.METRICS}
        for name, run in self._state.runs.items():
            for one in self._judged.get(name, ()):
                if one.guard in run.guards:
                    for metric, labels, value in _shown(one, run.guards[one.guard], run.run):
                        if math.isfinite(value):
                            found[metric][name, one.guard, *labels] = value
        for metric, samples in found.items():
            yield Family(metric, samples)

    def save(self) -> bytes:
        """Return everything that is known, as JSON."""
        return msgspec.json.encode(self._state, enc_hook=_as_list)

    def restore(self, state: bytes) -> None:
        """Go on from what `save` returned.

        Raises:
            ValueError: it is something else; nothing is changed.
        """
        self._state = msgspec.json.decode(state, type=EvidenceState, dec_hook=_as_array)


def _shown(
    one: Judged, state: GuardState, run: int | None
) -> Iterator[tuple[Metric, tuple[str, ...], float]]:
    log_e = state.log_e(one)
    if log_e is not None:
        yield metrics.LOG_E, (str(run),), log_e
    if state.trouble:
        yield metrics.PROBLEM, (state.trouble,), 1.0
    for arm, label in enumerate(ARMS):
        if one.arms is not None or arm:
            yield metrics.EVENTS, (label,), state.events(arm)
            yield metrics.MEAN, (label,), state.mean(one, arm)
    for bound, value in zip(("estimate", "lower", "upper"), state.effect(one), strict=True):
        yield metrics.EFFECT, (bound,), value
    if state.spread is not None:
        yield metrics.SPREAD, (), float(dispersion.ratio(state.spread))
    if state.split is not None:
        yield metrics.SPLIT, (), float(state.split.peak)


def _as_list(value: object) -> object:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(type(value).__name__)


def _as_array(_: type, value: object) -> object:
    return np.asarray(value, dtype=float)
