"""Measure how cost grows with the events in a window and the series of a scrape.

    python -m bench growth

Each size runs in a process of its own. Scores with two features go into a window of the model canary,
drift too, all within its half hour. What it takes to read them should grow as they do, to the power of
1; what a scrape takes, and a checkpoint, and memory, should not grow at all. Series: gauges with two
labels as text.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import click
import numpy as np

from bench.measuring import exponent, megabytes, run
from rollguard.exporters.canary.exporter import CanaryMeasures
from rollguard.exporters.exposition.families import Family
from rollguard.exporters.exposition.text import Exposition
from rollguard.exporters.measures.reference import Reference
from rollguard.exporters.sources.file import FileSource
from rollguard.exporters.sources.interface import Block
from rollguard.metric import Metric

EVENTS = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
SERIES = (10, 100, 1_000, 10_000)
WINDOW_SECONDS = 1800.0
_BLOCK = 1000


def _block(rng: random.Random, now: float) -> Block:
    lines = []
    for _ in range(_BLOCK):
        event = {"event": "score", "ts": now - WINDOW_SECONDS * rng.random(), "slot": "active"}
        features = {"a": round(rng.gauss(0, 1), 4), "b": round(rng.gauss(0, 1), 4)}
        lines.append(json.dumps(event | {"score": round(rng.random(), 4), "features": features}))
    return Block("\n".join([*lines, ""]).encode())


def _events(count: int) -> dict[str, float]:
    rng, now = random.Random(1), time.time()
    normal = np.random.default_rng(1).normal(size=5000)
    canary = CanaryMeasures(
        FileSource("nowhere"),
        window_seconds=WINDOW_SECONDS,
        reference=Reference.fit({"a": normal, "b": normal}, source="bench", made_at=0),
        min_sample=300,
        clock=time.time,
    )
    blocks = [_block(rng, now) for _ in range(min(100, count // _BLOCK))]
    start = time.process_time()
    for number in range(count // _BLOCK):
        canary.feed(blocks[number % len(blocks)])
    read = time.process_time() - start
    exposition = Exposition()
    scrape = _median(lambda: exposition.text(canary.families(now)))
    return {"read": read, "scrape": scrape, "save": _median(canary.save), "saved": len(canary.save())}


def _series(count: int) -> dict[str, float]:
    metric = Metric("bench", "gauge", "Of a bench.", ("a", "b"))
    rng = random.Random(1)
    values = {(f"symbol {number % 100}", f"host {number}"): rng.gauss(0, 100) for number in range(count)}
    exposition = Exposition()
    return {"scrape": _median(lambda: exposition.text([Family(metric, values)]))}


def _median(work: Callable[[], object]) -> float:
    """CPU seconds of one of fifty, the median of seven such."""
    work()
    return statistics.median(_seconds(work) for _ in range(7))


def _seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    for _ in range(50):
        work()
    return (time.process_time() - start) / 50


def _in_a_process(kind: str, count: int) -> tuple[dict[str, float], int]:
    used = run([sys.executable, "-m", "bench.growth", kind, str(count)])
    found: dict[str, Any] = json.loads(used.output)
    return found, used.peak


@click.command()
@click.option("--most", default=EVENTS[-1], show_default=True, help="Events in the largest window.")
def growth(most: int) -> None:
    """Measure how cost grows with the events in a window, and with the series of a scrape."""
    sizes = [size for size in EVENTS if size <= most]
    click.echo("events in the window   read s   scrape ms   checkpoint ms   bytes   peak")
    found = [_in_a_process("events", size) for size in sizes]
    for size, (cost, peak) in zip(sizes, found, strict=True):
        parts = (f"{cost['read']:9.3f}", f"{1000 * cost['scrape']:11.2f}", f"{1000 * cost['save']:15.2f}")
        click.echo(f"{size:20,}{''.join(parts)}{cost['saved']:9.0f}{megabytes(peak):>10}")
    powers = {name: exponent(sizes, [cost[name] for cost, _ in found]) for name in ("read", "scrape", "save")}
    powers["memory"] = exponent(sizes, [peak for _, peak in found])
    click.echo("to the power of " + ", ".join(f"{power:.2f} ({name})" for name, power in powers.items()))
    costs = [_in_a_process("series", size)[0]["scrape"] for size in SERIES]
    click.echo("series   scrape ms")
    for size, seconds in zip(SERIES, costs, strict=True):
        click.echo(f"{size:6,}{1000 * seconds:12.3f}")
    click.echo(f"to the power of {exponent(SERIES, costs):.2f}")


if __name__ == "__main__":
    measured = {"events": _events, "series": _series}[sys.argv[1]](int(sys.argv[2]))
    sys.stdout.write(json.dumps(measured))
