"""How often, and how late, evidence rolls back, beside other methods on the same outcomes."""

from __future__ import annotations

import math
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from rollguard.exporters.measures import bets, betting, dispersion
from rollguard.exporters.measures.betting import Array, Bet, Increments

ALPHA = 0.01
OURS = "rollguard"
PEERS = ("growthbook", "confseq", "msprt")
_ROOT = Path(__file__).parents[1]
_CHUNK = 500
_DAY = 1440


@dataclass(frozen=True)
class Law:
    """Outcomes of both arms, a look a minute.

    Args:
        name: for people.
        values: what each outcome counts; higher is worse. Of a rate: 0 and 1.
        chances: of each outcome in the old arm.
        rate: canary events a minute, at its first share.
        swing: of the chance of the last outcome over the day, +-.
        shares: of the canary, one after the other, each for an equal part of the time.
        shocks: what part of the variance of a minute's chance both arms share, 0-1.
    """

    name: str
    values: tuple[float, ...] = (0.0, 1.0)
    chances: tuple[float, ...] = (0.55, 0.45)
    rate: float = 5.0
    swing: float = 0.0
    shares: tuple[float, ...] = (0.1,)
    shocks: float = 0.0

    def bet(self) -> Bet:
        """Return what is bet on."""
        return bets.proportion() if len(self.values) == 2 else bets.mean(self.values, worse="higher")


_STEPS = (-8.0, -4.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
_LONG_TAIL = (0.0, 0.0, 0.0, 0.0, 0.28, 0.42, 0.18, 0.08, 0.025, 0.012, 0.003)
LAWS = (
    Law("wins 55 %"),
    Law("wins 98 %", chances=(0.98, 0.02)),
    Law("fails 0.5 %", chances=(0.995, 0.005), rate=20.0),
    Law("5/25/50 %, day ±5 points", swing=0.05, shares=(0.05, 0.25, 0.5)),
    Law("shared shocks, ICC .2", shocks=0.2),
    Law("long tail of losses", values=_STEPS, chances=_LONG_TAIL),
    Law("long tail of gains", values=_STEPS, chances=tuple(reversed(_LONG_TAIL))),
)


class Defect(NamedTuple):
    """How much more of the last outcome than of the first a canary has, and from which minute on."""

    drop: float = 0.0
    begins: int = 0


HEALTHY = Defect()


def outcomes(law: Law, rollouts: int, minutes: int, defect: Defect, seed: int) -> tuple[Array, Array]:
    """Return the outcomes of each minute, and the canary's share in it.

    Args:
        law: of the old arm.
        rollouts: how many.
        minutes: how long.
        defect: of the canary.
        seed: of chance.
    Returns:
        Counts, shape (minutes, rollouts, 2 arms: old and new, outcomes); shares, shape (minutes,).
    """
    rng = np.random.default_rng(seed)
    share = np.array([law.shares[minute * len(law.shares) // minutes] for minute in range(minutes)])
    every = law.rate / law.shares[0]
    chances = np.broadcast_to(np.array(law.chances), (minutes, rollouts, len(law.chances))).copy()
    moved = law.swing * np.sin(2 * np.pi * np.arange(minutes) / _DAY)[:, None]
    if law.shocks:
        mean, size = law.chances[-1], 1 / law.shocks - 1
        moved = rng.beta(mean * size, (1 - mean) * size, (minutes, rollouts)) - mean
    chances[..., -1] += moved
    chances[..., 0] -= moved
    worse = chances.copy()
    worse[defect.begins :, :, -1] += defect.drop
    worse[defect.begins :, :, 0] -= defect.drop
    arms = np.stack([(1 - share)[:, None, None] * chances, share[:, None, None] * worse], axis=2)
    return rng.poisson(every * np.clip(arms, 0, 1)).astype(np.float32), share


def ours(law: Law, counts: Array, share: Array) -> Array:
    """Return the minute at which evidence rolls each rollout back, -1 for never."""
    bet, values = law.bet(), np.array(law.values)
    state, off = betting.begin(bet, (counts.shape[1],)), np.full(counts.shape[1], -1)
    spread = dispersion.begin(len(values), (counts.shape[1],))
    for minute, (both, pi) in enumerate(zip(counts.astype(float), share, strict=True)):
        seen = Increments(both[:, 1:2], both[:, 0:1], np.array([pi]))
        state = betting.update(bet, state, seen, 60.0)
        spread = dispersion.add(spread, seen.canary, seen.baseline, values)
        off[(off < 0) & (dispersion.cautious(state.log_e, spread) >= -math.log(ALPHA))] = minute
    return off


def theirs(law: Law, counts: Array, folder: Path) -> dict[str, Array]:
    """Return the same of the other methods."""
    values = np.array(law.values)
    arrays: dict[str, Any] = {}
    for arm, name in enumerate(("old", "new")):
        grown = counts[:, :, arm].cumsum(axis=0)
        arrays |= {f"{name}_n": grown.sum(axis=-1), f"{name}_total": grown @ values}
        arrays[f"{name}_squares"] = grown @ values**2
    mean = np.array(law.chances) @ values
    scale = math.sqrt(np.array(law.chances) @ (values - mean) ** 2)
    np.savez(folder / "outcomes.npz", alpha=ALPHA, scale=scale, **arrays)
    python = _ROOT / ".tools" / "peers" / "decisions" / "venv" / "bin" / "python"
    script = Path(__file__).with_name("decision_peers.py")
    command = [str(python), "-I", str(script), str(folder / "outcomes.npz"), str(folder / "off.npz")]
    subprocess.run(command, check=True)
    with np.load(folder / "off.npz") as found:
        return {name: found[name] for name in PEERS}


def played(law: Law, rollouts: int, minutes: int, defect: Defect = HEALTHY) -> dict[str, tuple[Array, Array]]:
    """Return, by method, when each rollout is rolled back (minute, -1 for never), and what it had lost.

    What is lost are the canary's events since the defect began, times the defect: bad events beyond usual.
    """
    found: dict[str, list[tuple[Array, Array]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for chunk in range(0, rollouts, _CHUNK):
            some = min(_CHUNK, rollouts - chunk)
            counts, share = outcomes(law, some, minutes, defect, seed=chunk + 1)
            exposed = counts[defect.begins :, :, 1].sum(axis=-1).cumsum(axis=0)
            others = theirs(law, counts, Path(folder))
            for name, off in {OURS: ours(law, counts, share), **others}.items():
                last = np.where(off < 0, minutes - 1, off) - defect.begins
                lost = np.where(last < 0, 0.0, exposed[np.maximum(last, 0), np.arange(some)]) * defect.drop
                found.setdefault(name, []).append((off, lost))
    return {
        name: (np.concatenate([off for off, _ in parts]), np.concatenate([lost for _, lost in parts]))
        for name, parts in found.items()
    }


def told(cells: list[str], first: str) -> str:
    return f"{first:<28}" + "".join(f"{cell:>14}" for cell in cells)


@click.command(
    help="Compare evidence with other methods on the same outcomes: false rollbacks, and what a defect costs."
)
@click.option("--rollouts", default=5000, show_default=True, help="Healthy ones of each law.")
@click.option("--worse", default=1000, show_default=True, help="Worse ones of each size.")
@click.option("--hours", default=36, show_default=True)
def decisions(rollouts: int, worse: int, hours: int) -> None:
    """Print both tables; all methods at one-sided 1 %, a look a minute."""
    subprocess.run(["sh", str(_ROOT / "setup" / "peers-decisions.sh")], check=True)
    methods = (OURS, *PEERS)
    click.echo(told(list(methods), f"healthy, {rollouts} x {hours} h: back"))
    for law in LAWS:
        found = played(law, rollouts, hours * 60)
        click.echo(told([f"{(found[name][0] >= 0).mean():.2%}" for name in methods], law.name))
    click.echo()
    click.echo(told(list(methods), f"worse, {worse}: bad events lost"))
    for begins, when in ((0, "at once"), (_DAY, "after a day")):
        for drop in (0.02, 0.05, 0.1, 0.2):
            found = played(LAWS[0], worse, hours * 60, Defect(drop, begins))
            cells = [_lost(*found[name], begins) for name in methods]
            click.echo(told(cells, f"{drop * 100:.0f} points {when}"))


def _lost(off: Array, lost: Array, begins: int) -> str:
    """Return the mean loss, and how many were found; those that fell before the defect do not count."""
    counted = (off < 0) | (off >= begins)
    share = (off[counted] >= 0).mean()
    return f"{lost[counted].mean():.1f}" + (f" ({share:.0%})" if share < 0.995 else "")
