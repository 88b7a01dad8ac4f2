"""How far the demonstration's streams stay from their guards, over many seeds.

Every seed is one run through the stages, twice: with the healthy release and with the defective one. Signals
arrive evenly, are routed by flagd's hash of their id, scored by the live path, and judged as the guards do,
four times a second. Windows begin with the stage; trades are settled at once.

    python -m bench.demo_streams --seeds 20
"""

from __future__ import annotations

import argparse
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

FLAG_KEY = "model-canary"
STAGE_PERCENTS = (10, 25, 100)
STAGE_SECONDS, WINDOW_SECONDS, LOOK_SECONDS = 25.0, 30.0, 0.25
MIN_ROWS, MIN_TRADES = 300, 500
PSI_LIMIT, KS_LIMIT, WIN_RATE_LIMIT, DELTA_LIMIT = 0.30, 0.20, 0.5, -0.05
BINS = 10

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
    reference = models.early_years(bars).features
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


def watch(stage: Stage, rate: int, reference: Array, worst: Extremes) -> None:
    """Note what the guards see at worst in a stage."""
    ends = np.arange(LOOK_SECONDS, STAGE_SECONDS + LOOK_SECONDS / 2, LOOK_SECONDS)
    upto = np.minimum((ends * rate).astype(int), len(stage.won))
    since = np.maximum(upto - round(WINDOW_SECONDS * rate), 0)
    _watch_drift(stage, reference, worst, since=since, upto=upto)
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


def _watch_drift(stage: Stage, reference: Array, worst: Extremes, *, since: Counts, upto: Counts) -> None:
    rows = _total(stage.canary)
    armed = rows[upto] - rows[since] >= MIN_ROWS
    psi, ks = [], []
    for column in range(len(FEATURES)):
        edges = np.quantile(reference[:, column], np.linspace(0, 1, BINS + 1)[1:-1])
        expected = _histogram(reference[:, column], edges).sum(axis=0)
        counts = _total(_histogram(stage.rows[:, column], edges) * stage.canary[:, None])
        online = _shares((counts[upto] - counts[since])[armed])
        difference = online - _shares(expected)
        psi.append((difference * np.log(online / _shares(expected))).sum(axis=1))
        ks.append(np.abs(difference.cumsum(axis=1)).max(axis=1))
    worst.psi.append(np.array(psi))
    worst.ks.append(np.array(ks))
    worst.seconds_to_rows.append(LOOK_SECONDS * (1 + int(armed.argmax())))


def _win_rate(closed: Mask, won: Mask) -> Array:
    return np.asarray(_total(closed & won) / np.maximum(_total(closed), 1))


def _histogram(values: Array, edges: Array) -> Counts:
    """Return a one in each value's bin, shape (values, BINS)."""
    ones: Counts = np.eye(BINS, dtype=np.int64)
    histogram: Counts = ones[np.searchsorted(edges, values, side="right").clip(max=BINS - 1)]
    return histogram


def _shares(counts: Counts) -> Array:
    shares: Array = (counts + 0.5) / (counts.sum(axis=-1, keepdims=True) + BINS / 2)
    return shares


def _total(values: Mask | Counts) -> Counts:
    """Return the running totals, with the 0 before the first."""
    totals = np.cumsum(values, axis=0, dtype=np.int64)
    return np.concatenate([np.zeros_like(totals[:1]), totals])


def report(name: str, worst: dict[int, Extremes]) -> None:
    """Print one line per stage."""
    print(f"\n{name}: largest PSI and KS per feature, over seeds and looks with n >= {MIN_ROWS}")
    print(f"{'stage':>6} " + " ".join(f"{feature:>15}" for feature in FEATURES) + "   after")
    for percent, seen in worst.items():
        psi, ks = (np.max([run.max(axis=1) for run in runs], axis=0) for runs in (seen.psi, seen.ks))
        cells = " ".join(f"{a:8.3f} {b:6.3f}" for a, b in zip(psi, ks, strict=True))
        print(f"{percent:5}% {cells} {max(seen.seconds_to_rows):6.2f} s")
    print("guards: looks where drift fires; seeds where it ever does; smallest of max PSI; win rates")
    for percent, seen in worst.items():
        print(f"{percent:5}% {_drift_line(seen)}; {_win_line(seen)}")


def _drift_line(seen: Extremes) -> str:
    looks = [
        (psi.max(axis=0) > PSI_LIMIT) | (ks.max(axis=0) > KS_LIMIT)
        for psi, ks in zip(seen.psi, seen.ks, strict=True)
    ]
    fires = np.concatenate(looks).mean()
    smallest = min(psi.max(axis=0).min() for psi in seen.psi)
    return f"fires {fires:.1%} of looks, {sum(map(any, looks))}/{len(looks)} seeds, max PSI >= {smallest:.3f}"


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
