"""How often the win rates' guard takes a healthy model canary back: a simulation of the shipped rollout."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import click
import numpy as np

from rollguard.spec.loading import load_rollout

LOOKS_PER_MINUTE = 4
WIN_RATE = 0.55


class Plan(NamedTuple):
    """What the rollout file says of the stages with a canary.

    Args:
        shares: of the canary, by stage.
        looks: that a stage lasts at least.
        margin: by which the canary may win less often.
        least: canary trades from which on it is judged, and without which no stage ends.
    """

    shares: tuple[float, ...]
    looks: tuple[float, ...]
    margin: float
    least: int


def shipped() -> Plan:
    """Return the plan of the shipped model canary."""
    rollout = load_rollout(Path("rollouts/model-canary.yaml"))
    guard = next(one for one in rollout.guards if one.alert == "CanaryWinrateRollback")
    values = guard.bindings[0]
    stages = [stage for stage in rollout.stages if stage.name in (guard.stages or ())]
    looks = tuple((stage.hold or 0.0) / 60 * LOOKS_PER_MINUTE for stage in stages)
    shares = tuple((stage.percent or 0.0) / 100 for stage in stages)
    return Plan(shares, looks, float(str(values["delta_ratio"])), int(str(values["min_sample"])))


def simulate(plan: Plan, per_minute: float, worse: float, rollouts: int) -> tuple[float, float, float]:
    """Return the share rolled back, and the median hours until that and until the last stage is over.

    Args:
        plan: of the rollout.
        per_minute: trades of both arms.
        worse: by how much the canary wins less often.
        rollouts: how many are tried.
    """
    rng = np.random.default_rng(1)
    stage, age = np.zeros(rollouts, np.int64), np.zeros(rollouts)
    trades, won = np.zeros((2, rollouts)), np.zeros((2, rollouts))
    fell, done = np.full(rollouts, np.nan), np.full(rollouts, np.nan)
    looks, shares = np.array([*plan.looks, np.inf]), np.array([*plan.shares, 1.0])
    for look in range(1, 14 * 24 * 60 * LOOKS_PER_MINUTE):
        alive = np.isnan(fell) & np.isnan(done)
        if not alive.any():
            break
        mean = per_minute / LOOKS_PER_MINUTE * np.stack([shares[stage], 1 - shares[stage]])
        new = rng.poisson(mean)
        trades += new
        won += rng.binomial(new, np.array([[WIN_RATE - worse], [WIN_RATE]]))
        rates = won / np.maximum(trades, 1)
        judged = trades[0] >= plan.least
        fell[alive & judged & (rates[0] < rates[1] - plan.margin)] = look
        age += 1
        over = alive & np.isnan(fell) & judged & (age >= looks[stage]) & (rates[0] >= 0.5)
        stage[over] += 1
        age[over] = trades[:, over] = won[:, over] = 0
        done[over & (stage == len(plan.shares))] = look
    hours = 60.0 * LOOKS_PER_MINUTE
    middle = [float(np.nanmedian(one)) / hours if not np.isnan(one).all() else np.nan for one in (fell, done)]
    return float(np.mean(~np.isnan(fell))), middle[0], middle[1]


@click.command(help="Simulate healthy and worse releases of the model canary as it is shipped.")
@click.option("--rollouts", default=1000, show_default=True)
def healthy(rollouts: int) -> None:
    """Print how often, and when, each is rolled back."""
    plan = shipped()
    for worse in (0.0, 0.05, 0.1):
        for per_minute in (10, 50, 200):
            share, fell, done = simulate(plan, per_minute, worse, rollouts)
            click.echo(
                f"{worse * 100:2.0f} points worse, {per_minute:3d} trades a minute: {share:6.1%} rolled back"
                f" (median {fell:.1f} h), full after {done:.1f} h"
            )
