"""How far the demonstration's streams stay from their guards, over many seeds.

Every seed is one run through the stages, twice: with the healthy release and with the defective one. Signals
arrive evenly, are routed by flagd's hash of their id, scored by the live path, and judged as the exporter and
the guards do, four times a second. Windows begin with the stage; trades are settled at once.

    python -m bench.demo_streams --seeds 20
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

import mmh3
import numpy as np
import numpy.typing as npt

from demo import market, models
from demo.features import FEATURES
from demo.market import Array
from demo.models import Release
from demo.signals import Signal, stream
from rollguard.exporters.measures.drift_windows import DriftWindow
from rollguard.exporters.measures.reference import Reference

FLAG_KEY = "model-canary"
STAGE_PERCENTS = (10, 25, 50, 100)
STAGE_SECONDS, WINDOW_SECONDS, LOOK_SECONDS = 45.0, 30.0, 0.25
MIN_ROWS, MIN_TRADES = 300, 1200
PSI_LIMIT, KS_LIMIT, WIN_RATE_LIMIT, DELTA_LIMIT = 0.30, 0.20, 0.5, -0.05

Counts = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Stage:
    """What happened in a stage, signal by signal; rows of signals that another model served are NaN."""

    canary: Mask
    closed: Mask
    won: Mask
    rows: Array


@dataclass
class Extremes:
    """What the looks of many stages saw at worst."""

    psi: list[Array] = field(default_factory=list)
    ks: list[Array] = field(default_factory=list)
    gap: list[float] = field(default_factory=list)
    win_rate: list[float] = field(default_factory=list)
    seconds_to_rows: list[float] = field(default_factory=list)
    seconds_to_trades: list[float] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--rate", type=int, default=400, help="signals per second")
    options = parser.parse_args()
    bars = market.load()
    active, healthy = models.active(bars), models.candidate(bars)
    rows = dict(zip(FEATURES, models.early_years(bars).features.T, strict=True))
    reference = Reference.fit(rows, source="early years", made_at=0.0)
    print(active.model.describe(), healthy.model.describe(), sep="\n")
    print(f"{options.seeds} seeds, {options.rate} signals/s, {STAGE_SECONDS:g} s per stage")
    for name, release in {"healthy": healthy, "defective": models.defective(healthy)}.items():
        worst = {percent: Extremes() for percent in STAGE_PERCENTS}
        for seed in range(options.seeds):
            signals = stream(bars, seed)
            for percent in STAGE_PERCENTS:
                taken = islice(signals, round(STAGE_SECONDS * options.rate))
                watch(play(taken, percent, active, release), options.rate, reference, worst[percent])
        report(name, worst)
    print(
        f"cost: {signals_per_cpu_second(bars, healthy):,.0f} signals per CPU-second, scored, as event dicts"
    )


def in_canary(key: str, percent: int) -> bool:
    """Return what flagd-core 1.x decides: murmur3 of flag key and targeting key."""
    return (mmh3.hash(FLAG_KEY + key, signed=False) * 100) >> 32 < percent


def play(signals: Iterator[Signal], percent: int, active: Release, candidate: Release) -> Stage:
    """Return a stage in which a share of the signals is served by the candidate."""
    canary, closed, won, rows = [], [], [], []
    for signal in signals:
        served = in_canary(signal.id, percent)
        release = candidate if served else active
        row = release.live_row(signal.features)
        canary.append(served)
        closed.append(release.model.approves(release.model.score(row)))
        won.append(signal.won)
        rows.append(row if served else (np.nan,) * len(FEATURES))
    return Stage(np.array(canary), np.array(closed), np.array(won), np.array(rows))


def watch(stage: Stage, rate: int, reference: Reference, worst: Extremes) -> None:
    """Note what the guards see at worst in a stage."""
    ends = np.arange(LOOK_SECONDS, STAGE_SECONDS + LOOK_SECONDS / 2, LOOK_SECONDS)
    upto = np.minimum((ends * rate).astype(int), len(stage.won))
    since = np.maximum(upto - round(WINDOW_SECONDS * rate), 0)
    _watch_drift(stage, rate, reference, worst)
    trades, wins = _total(stage.closed), _total(stage.closed & stage.won)
    rates = (wins[upto] - wins[since]) / (trades[upto] - trades[since])
    worst.win_rate.append(float(rates.min()))
    ours, theirs = stage.closed & stage.canary, stage.closed & ~stage.canary
    sample = _total(ours)[upto]
    if not theirs.any() or sample[-1] < MIN_TRADES:
        return
    armed = upto[sample >= MIN_TRADES]
    gap = _win_rate(ours, stage.won)[armed] - _win_rate(theirs, stage.won)[armed]
    worst.gap.append(float(gap.min()))
    worst.seconds_to_trades.append(float(ends[-len(armed)]))


def _watch_drift(stage: Stage, rate: int, reference: Reference, worst: Extremes) -> None:
    window = DriftWindow(reference, WINDOW_SECONDS, MIN_ROWS)
    columns = [FEATURES.index(name) for name in window.names]
    step = round(LOOK_SECONDS * rate)
    psi, ks, after = [], [], math.inf
    for begin in range(0, len(stage.won), step):
        now = begin / rate
        rows = stage.rows[begin : begin + step][stage.canary[begin : begin + step]]
        window.add(np.full(len(rows), now), rows[:, columns])
        found = [drift for drift in window.measure(now) if drift.psi is not None]
        if found:
            after = min(after, now)
            psi.append(max(drift.psi or 0.0 for drift in found))
            ks.append(max(drift.ks or 0.0 for drift in found))
    worst.psi.append(np.array(psi))
    worst.ks.append(np.array(ks))
    worst.seconds_to_rows.append(after)


def _win_rate(closed: Mask, won: Mask) -> Array:
    return np.asarray(_total(closed & won) / np.maximum(_total(closed), 1))


def _total(values: Mask | Counts) -> Counts:
    """Return the running totals, with the 0 before the first."""
    totals = np.cumsum(values, axis=0, dtype=np.int64)
    return np.concatenate([np.zeros_like(totals[:1]), totals])


def report(name: str, worst: dict[int, Extremes]) -> None:
    """Print one line per stage."""
    print(f"\n{name}: looks where drift fires; seeds where it ever does; largest PSI and KS of any feature")
    for percent, seen in worst.items():
        print(f"{percent:5}% {_drift_line(seen)}; {_win_line(seen)}")


def _drift_line(seen: Extremes) -> str:
    looks = [(psi > PSI_LIMIT) | (ks > KS_LIMIT) for psi, ks in zip(seen.psi, seen.ks, strict=True)]
    fires = np.concatenate(looks).mean()
    psi, ks = np.concatenate(seen.psi), np.concatenate(seen.ks)
    shown = f"PSI {psi.min():.3f}-{psi.max():.3f}, KS {ks.min():.3f}-{ks.max():.3f}"
    after = f"shown after <= {max(seen.seconds_to_rows):g} s"
    return f"fires {fires:.1%} of looks, {sum(map(any, looks))}/{len(looks)} seeds, {shown}, {after}"


def _win_line(seen: Extremes) -> str:
    below = sum(rate < WIN_RATE_LIMIT for rate in seen.win_rate)
    text = f"win rate >= {min(seen.win_rate):.3f} (below {WIN_RATE_LIMIT}: {below})"
    if seen.gap:
        trailed = sum(gap < DELTA_LIMIT for gap in seen.gap)
        when = f"armed in {len(seen.gap)} stages after <= {max(seen.seconds_to_trades):g} s"
        text += f", canary - baseline >= {min(seen.gap):+.3f} (below {DELTA_LIMIT}: {trailed}), {when}"
    return text


def signals_per_cpu_second(bars: market.Bars, release: Release, count: int = 50_000) -> float:
    """Return how many signals are drawn, scored and made into event dicts in a second of CPU."""
    signals, names = stream(bars, 0), release.model.features
    next(signals)
    start = time.process_time()
    for signal in islice(signals, count):
        row = release.live_row(signal.features)
        _ = {
            "id": signal.id,
            "score": release.model.score(row),
            "features": dict(zip(names, row, strict=True)),
        }
    return count / (time.process_time() - start)


if __name__ == "__main__":
    main()
