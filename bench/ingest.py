"""How fast exporters read, beside mtail and a bare json.loads loop. Rates are per CPU second.

    python -m bench ingest

Celery log: `rollguard export screener --once` and `mtail -one_shot`, whole processes, each line of interest
validated by the same expression, into the same counters and the same histogram of four phases. Half of the
lines are of other tasks. Both count the same, or the measurement fails.

JSON events: scores with twenty features each, into every rolling statistic of the model canary, drift too,
beside a loop that only decodes them; each in a process of its own, from the first line to the last.

Stream: the same events from Redis by consumer group, acknowledged and saved; the CPU of the exporter alone.
"""

from __future__ import annotations

import io
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from bench.measuring import megabytes, peer, run, spread
from rollguard.exporters.canary.exporter import canary
from rollguard.exporters.measures.reference import Reference
from rollguard.exporters.runtime.checkpoint import CheckpointFile
from rollguard.exporters.runtime.follower import Follower
from rollguard.exporters.runtime.runner import Settings
from rollguard.exporters.runtime.runner import run as run_exporter
from rollguard.exporters.screener.exporter import BOUNDS
from tests.servers import running_redis

PHASES = ("prep", "detectors", "readiness", "total")
_SYMBOLS, _FEATURES = 5000, 20
_TIME = r"\d{1,9}(?:\.\d{1,9})?"
_PROGRAM = f"""\
counter se_symbols_total
counter se_symbol_errors_total
counter se_symbol_no_data_total
histogram se_symbol_duration_seconds by phase buckets {", ".join(map(str, BOUNDS))}

/SE timing [^\\s:]{{1,40}}: {" ".join(f"{one}=(?P<{one}>{_TIME})ms" for one in PHASES)} \
score=(?:-?{_TIME}|None|nan) errors=(?P<errors>\\d{{1,9}}) no_data=(?P<no_data>\\d{{1,9}})$/ {{
  se_symbols_total++
{"".join(f'  se_symbol_duration_seconds["{one}"] = float(${one}) / 1000.0{chr(10)}' for one in PHASES)}\
  $errors > 0 {{
    se_symbol_errors_total++
  }}
  $no_data > 0 {{
    se_symbol_no_data_total++
  }}
}}
"""
_COUNTED = {
    *("se_symbols_total", "se_symbol_errors_total", "se_symbol_no_data_total"),
    "se_symbol_duration_seconds_bucket",
}


def _log(lines: int) -> Iterator[str]:
    rng = random.Random(7)
    for number in range(lines // 2):
        moment = f"{number // 60 % 60:02}:{number % 60:02},{number % 1000:03}"
        head = f"[2026-02-22 10:{moment}: INFO/ForkPoolWorker-{number % 8}]"
        times = [rng.lognormvariate(mean, 0.8) for mean in (2.5, 4, 2)]
        parts = [f"{name}={ms:.1f}ms" for name, ms in zip(PHASES, [*times, sum(times)], strict=True)]
        parts += [f"score={90 * rng.random():.1f}", f"errors={rng.random() < 0.01:d}"]
        parts += [f"no_data={rng.random() < 0.03:d}"]
        yield f"{head} SE timing S{number % _SYMBOLS}: {' '.join(parts)}\n"
        task = f"app.tasks.cache.warm[{number:08x}-6c1e-4f8a-9b1d-0c5f6a7e8d9b]"
        yield f"{head} Task {task} succeeded in {rng.random():.4f}s: {{'hit': True}}\n"


def _celery(folder: Path, lines: int, runs: int) -> None:
    log, program = folder / "celery.log", folder / "screener.mtail"
    with log.open("w") as file:
        file.writelines(_log(lines))
    program.write_text(_PROGRAM)
    ours = [sys.executable, "-Pm", "rollguard", "export", "screener", "--log", str(log), "--once"]
    theirs = [peer("mtail"), "-one_shot", "-one_shot_format", "prometheus"]
    theirs += ["-progs", str(program), "-logs", str(log), "-log_dir", str(folder)]
    pairs = [(run(ours), run(theirs)) for _ in range(runs)]
    if _counted(pairs[0][0].output) != _counted(pairs[0][1].output):
        raise click.ClickException("mtail and the exporter do not count the same")
    click.echo(f"Celery log, {lines:,} lines, {megabytes(log.stat().st_size)}, lines per CPU second:")
    click.echo(
        f"  exporter {spread([lines / a.cpu for a, _ in pairs])}, {megabytes(max(a.peak for a, _ in pairs))}"
    )
    click.echo(
        f"  mtail    {spread([lines / b.cpu for _, b in pairs])}, {megabytes(max(b.peak for _, b in pairs))}"
    )
    click.echo(f"  ratio    {spread([b.cpu / a.cpu for a, b in pairs], 2)}")


def _counted(output: str) -> dict[tuple[str, str, float], float]:
    """The counters and buckets of an exposition, by name, phase and bound."""
    return {
        (sample.name, sample.labels.get("phase", ""), float(sample.labels.get("le", 0))): sample.value
        for family in text_string_to_metric_families(output)
        for sample in family.samples
        if sample.name in _COUNTED
    }


def _reference() -> Reference:
    rng = np.random.default_rng(1)
    rows = {f"feature_{number:02}": rng.normal(size=5000) for number in range(_FEATURES)}
    return Reference.fit(rows, source="bench", made_at=0)


def _scores(count: int) -> Iterator[bytes]:
    rng, now = random.Random(1), time.time() - 600
    yield json.dumps({"event": "stage", "ts": now, "stage": "canary", "percent": 10}).encode()
    for number in range(1, count):
        features = {f"feature_{one:02}": round(rng.gauss(0, 1), 6) for one in range(_FEATURES)}
        score = {"event": "score", "ts": round(now + 600 * number / count, 3), "slot": "active"}
        yield json.dumps(
            score | {"score": round(rng.random(), 4), "served": "candidate", "features": features}
        ).encode()


def _events(folder: Path, count: int, runs: int) -> None:
    events, reference = folder / "events.jsonl", folder / "reference.json"
    _reference().save(reference)
    with events.open("wb") as file:
        file.writelines(line + b"\n" for line in _scores(count))
    command = [sys.executable, "-m", "bench.ingest"]
    pairs = [
        (run([*command, "ours", str(events), str(reference)]), run([*command, "loads", str(events)]))
        for _ in range(runs)
    ]
    ours, loads = ([count / float(one[place].output) for one in pairs] for place in (0, 1))
    size = events.stat().st_size // count
    click.echo(f"JSON events with {_FEATURES} features, {count:,} of {size} bytes, per CPU second:")
    click.echo(f"  exporter   {spread(ours)}, {megabytes(max(a.peak for a, _ in pairs))}")
    click.echo(f"  json.loads {spread(loads)}")
    click.echo(f"  ratio      {spread([a / b for a, b in zip(ours, loads, strict=True)], 2)}")


def _seconds(kind: str, events: str, reference: str = "") -> float:
    """CPU seconds that one way of reading takes."""
    start = time.process_time()
    if kind == "loads":
        with Path(events).open("rb") as file:
            for line in file:
                json.loads(line)
    else:
        settings = Settings(listen="", checkpoint=Path(), once=True)
        run_exporter(canary(events, reference=Path(reference)), settings, output=io.StringIO())
    return time.process_time() - start


def _stream(folder: Path, count: int, runs: int) -> None:
    _reference().save(folder / "reference.json")
    with running_redis() as server, server.client() as client:
        client.config_set("appendfsync", "no")
        lines = list(_scores(count))
        for start in range(0, count, 1000):
            pipeline = client.pipeline(transaction=False)
            for line in lines[start : start + 1000]:
                pipeline.xadd("events", {"data": line})
            pipeline.execute()
        address = f"{server.url}?stream=events&group=g"
        rates = [count / _seconds_of_stream(f"{address}{run}", folder, count) for run in range(runs)]
    click.echo(f"Redis stream, {count:,} of the same events, per CPU second of the exporter: {spread(rates)}")


def _seconds_of_stream(address: str, folder: Path, count: int) -> float:
    """CPU seconds until every entry was taken in, saved and acknowledged."""
    start = time.process_time()
    exporter = canary(address, reference=folder / "reference.json")
    with tempfile.TemporaryDirectory(dir=folder) as name:
        follower = Follower(exporter, CheckpointFile(Path(name) / "checkpoint", "canary", 1))
        while follower.step(follower.inputs[0]):
            pass
        follower.close()
    seconds = time.process_time() - start
    taken = sum(msgspec.json.decode(exporter.save())["intake"]["events"].values())
    if taken != count:
        raise click.ClickException(f"{taken} of {count} entries were taken in")
    return seconds


@click.command()
@click.option("--lines", default=2_000_000, show_default=True, help="Of the Celery log.")
@click.option("--events", default=300_000, show_default=True, help="In the file and in the stream.")
@click.option("--runs", default=5, show_default=True)
def ingest(lines: int, events: int, runs: int) -> None:
    """Measure how fast logs, JSON events and streams are read, beside mtail and json.loads."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _celery(folder, lines, runs)
        _events(folder, events, runs)
        _stream(folder, events, runs)


if __name__ == "__main__":
    sys.stdout.write(str(_seconds(*sys.argv[1:])))
