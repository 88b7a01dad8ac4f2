"""How often losses take a model canary back, and what comes to full: the shipped rollout, simulated."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np

from rollguard.exporters.evidence.judged import judged
from rollguard.exporters.measures import betting, dispersion
from rollguard.exporters.measures.betting import Array, Bet, Increments
from rollguard.exporters.measures.effects import difference
from rollguard.spec.guards import alpha
from rollguard.spec.loading import load_rollout

WIN_RATE = 0.55
PROOF_MINUTES = 5
"""How often a stage is asked whether it is proved: less often than the control plane does, for speed."""


class Plan(NamedTuple):
    """What the rollout file says of the stages with a canary.

    Args:
        shares: of the canary, by stage.
        minutes: that a stage lasts at least.
        margin: by which the canary may win less often.
        least: canary trades from which on it is judged so.
        enough: canary trades without which no stage ends.
        bet: of the guard on losses by evidence.
        alpha: of it.
        proof: by how much the canary is proved to lose no more often, before it is full.
    """

    shares: tuple[float, ...]
    minutes: tuple[float, ...]
    margin: float
    least: int
    enough: int
    bet: Bet
    alpha: float
    proof: float


class Simulated(NamedTuple):
    """What became of rollouts: minutes until they were rolled back, and full; infinite where they are not."""

    fell: Array
    full: Array

    @property
    def rolled_back(self) -> float:
        """The share that was rolled back."""
        return float(np.isfinite(self.fell).mean())

    @property
    def in_full(self) -> float:
        """The share that became full."""
        return float(np.isfinite(self.full).mean())


def shipped() -> Plan:
    """Return the plan of the shipped model canary."""
    rollout = load_rollout(Path("rollouts/model-canary.yaml"))
    trails = next(one for one in rollout.guards if one.name == "CanaryWinrateRollback")
    losses = next(one for one in judged(rollout) if one.guard == "CanaryWinrateRollback-losses")
    stages = [stage for stage in rollout.stages if stage.name in (trails.stages or ())]
    enough = next(one.expr for one in rollout.advance if one.expr.startswith("sample_canary >= "))
    return Plan(
        shares=tuple((stage.percent or 0.0) / 100 for stage in stages),
        minutes=tuple((stage.hold or 0.0) / 60 for stage in stages),
        margin=float(str(trails.bindings[0]["delta_ratio"])),
        least=int(str(trails.bindings[0]["min_sample"])),
        enough=int(enough.rpartition(" ")[2]),
        bet=losses.bet((0.0, 1.0)),
        alpha=alpha(next(one for one in rollout.guards if one.name == losses.guard)),
        proof=next(one.margin for one in rollout.advance if one.not_worse == losses.guard) or math.nan,
    )


def simulate(plan: Plan, per_minute: float, worse: float, rollouts: int, days: float = 4.0) -> Simulated:
    """Return what becomes of releases, looked at each minute from the first stage with a canary on.

    Args:
        plan: of the rollout.
        per_minute: trades of both arms.
        worse: by how much the canary wins less often.
        rollouts: how many are tried.
        days: for how long.
    """
    rng, stages = np.random.default_rng(1), len(plan.shares)
    stage, age = np.zeros(rollouts, np.int64), np.zeros(rollouts)
    counted = np.zeros((2, rollouts, stages, 2))  # canary and baseline; by stage; won and lost
    evidence, spread = betting.begin(plan.bet, (rollouts,)), dispersion.begin(2, (rollouts,))
    fell, full = np.full(rollouts, np.inf), np.full(rollouts, np.inf)
    each, shares = np.arange(rollouts), np.array([*plan.shares, 1.0])
    lasts = np.array([*plan.minutes, np.inf])
    for minute in range(1, round(days * 1440) + 1):
        alive = np.isinf(fell) & np.isinf(full)
        if not alive.any():
            break
        here = np.minimum(stage, stages - 1)
        new = np.zeros_like(counted)
        for arm, (share, rate) in enumerate(
            ((shares[stage], WIN_RATE - worse), (1 - shares[stage], WIN_RATE))
        ):
            new[arm, each, here] = rng.poisson(np.outer(per_minute * share * alive, [rate, 1 - rate]))
        counted += new
        evidence = betting.update(plan.bet, evidence, Increments(new[0], new[1], shares[:-1]), 60.0)
        spread = dispersion.add(spread, new[0], new[1], np.array([0.0, 1.0]))
        cohort = counted[:, each, here]
        trades = cohort.sum(axis=-1)
        wins = cohort[..., 0] / np.maximum(trades, 1)
        trails = (trades[0] >= plan.least) & (wins[0] < wins[1] - plan.margin)
        log_e = dispersion.cautious(evidence.log_e, spread)
        fell[alive & (trails | (log_e >= -math.log(plan.alpha)))] = minute
        age += 1
        over = np.isinf(fell) & np.isinf(full) & (age >= lasts[stage])
        over &= (trades[0] >= plan.enough) & (wins[0] >= 0.5)
        for number in np.flatnonzero(over & (stage == stages - 1)):
            over[number] = minute % PROOF_MINUTES == 0 and _proved(plan, counted[:, number])
        stage[over] += 1
        age[over] = 0
        full[over & (stage == stages)] = minute
    return Simulated(fell, full)


def _proved(plan: Plan, counted: Array) -> bool:
    canary, baseline = counted
    return bool(difference(canary, baseline, np.array([0.0, 1.0]))[2] < plan.proof)


@click.command(help="Simulate healthy and worse releases of the model canary as it is shipped.")
@click.option("--rollouts", default=1000, show_default=True)
@click.option("--days", default=4.0, show_default=True, help="How long each is followed.")
def healthy(rollouts: int, days: float) -> None:
    """Print how often, and when, each is rolled back or full."""
    plan = shipped()
    for worse in (0.0, 0.02, 0.05, 0.1):
        for per_minute in (10, 50, 200):
            found = simulate(plan, per_minute, worse, rollouts, days)
            fell, full = (
                f"{ratio:6.1%}{_hours(minutes)}"
                for ratio, minutes in ((found.rolled_back, found.fell), (found.in_full, found.full))
            )
            click.echo(
                f"{worse * 100:2.0f} points worse, {per_minute:3d} trades a minute:"
                f" {fell} rolled back, {full} in full"
            )


def _hours(minutes: Array) -> str:
    reached = minutes[np.isfinite(minutes)]
    return f" (median {np.median(reached) / 60:.1f} h)" if len(reached) else ""
