"""What many simulated rollouts say together."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rollguard.exporters.measures.betting import Array
from rollguard.simulation.runs import Run, Scenario
from rollguard.simulation.windows import Truth
from rollguard.spec.rollout import Rollout

_DAY_SECONDS = 86_400.0


def plan_seconds(rollout: Rollout) -> float:
    """Return how long a rollout takes at least until its last stage begins."""
    return sum(stage.hold for stage in rollout.stages[:-1])


@dataclass(frozen=True)
class Summary:
    """Many rollouts of one release; shares are 0-1, times seconds, None where there is none.

    Args:
        scenario: how the release was.
        rollouts: how many were played.
        seconds: for how long each.
        rolled_back: the share that was taken back.
        guards: by guard, how many it took back.
        found_median: from the defect's begin until it was taken back, of those taken back after that.
        enabled_rolled_back: the share taken back after being enabled.
        held: the share that was held ever.
        holds_a_day: holds of a rollout, a day.
        held_mean: for how long a rollout was held.
        full: the share that reached the last stage.
        full_median: when, of those.
        full_in_time: the share that did within twice the plan.
        enabled: the share whose last stage was over.
        messages: that people were sent, of a rollout.
        excess_bad: bad events that the defect added until it was off, of a rollout.
        back_at: when each was taken back, NaN for never.
        full_at: when each reached the last stage, NaN for never.
    """

    scenario: Scenario
    rollouts: int
    seconds: float
    rolled_back: float
    guards: Mapping[str, int]
    found_median: float | None
    enabled_rolled_back: float
    held: float
    holds_a_day: float
    held_mean: float
    full: float
    full_median: float | None
    full_in_time: float
    enabled: float
    messages: float
    excess_bad: float
    back_at: Array
    full_at: Array


def summary(scenario: Scenario, runs: Sequence[Run], seconds: float, plan: float) -> Summary:
    """Return what rollouts of one release say together.

    Args:
        scenario: how it was.
        runs: one or more.
        seconds: for how long each was played.
        plan: seconds until the last stage, at least.
    """
    back, full, enabled, serving = (
        np.array([getattr(run, name) for run in runs])
        for name in ("rolled_back", "full", "enabled", "serving")
    )
    played = np.where(np.isnan(back), seconds, back)
    late = back - serving - scenario.begins
    late = late[late > 0]
    return Summary(
        scenario=scenario,
        rollouts=len(runs),
        seconds=seconds,
        rolled_back=_share(~np.isnan(back)),
        guards=dict(Counter(run.guard for run in runs if run.guard).most_common()),
        found_median=_median(late) if scenario.worse else None,
        enabled_rolled_back=_share(back > enabled),
        held=_share(np.array([run.holds > 0 for run in runs])),
        holds_a_day=sum(run.holds for run in runs) / max(played.sum() / _DAY_SECONDS, 1e-9),
        held_mean=math.fsum(run.held_seconds for run in runs) / len(runs),
        full=_share(~np.isnan(full)),
        full_median=_median(full),
        full_in_time=_share(full <= 2 * plan),
        enabled=_share(~np.isnan(enabled)),
        messages=sum(run.messages for run in runs) / len(runs),
        excess_bad=math.fsum(run.excess for run in runs) / len(runs),
        back_at=back,
        full_at=full,
    )


def _share(flags: Truth) -> float:
    return float(flags.mean())


def _median(values: Array) -> float | None:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else None
