"""How long dashboards take: to make, beside grafanalib writing them; and to be answered by Prometheus.

python -m bench dashboards
python -m bench dashboard-queries
"""

from __future__ import annotations

import io
import json
import math
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import httpx
import promql_parser
from grafanalib._gen import write_dashboard

from bench.generation import SIZES, rollout
from rollguard.cli.local.processes import Child, free_port
from rollguard.dashboards.grafana import finish
from rollguard.exporters.exported_metrics import exported_metrics
from rollguard.generators.dashboards.files import all_dashboards
from rollguard.generators.tools import binaries
from rollguard.metric import Metric
from rollguard.spec.loading import load_rollouts
from rollguard.spec.rollout import Rollout

_RANGE_SECONDS = 6 * 3600
_SERIES = 500
_FEATURES = 20
_BY_FEATURE = ("psi_feature", "ks_feature")
_POINTS_OF_ANNOTATION = 300
_ROUNDS = 15
_MILLI = 1000.0


@dataclass(frozen=True)
class Made:
    """How it went with some rollouts.

    Args:
        dashboards: how many were made.
        each: CPU seconds of the median dashboard, from the checked rollout to the text of its file.
        total: CPU seconds of all.
        theirs: CPU seconds that grafanalib takes to write the same objects, all of them.
        ours: CPU seconds that we take to write them.
    """

    dashboards: int
    each: float
    total: float
    theirs: float
    ours: float


@click.command("dashboards")
def dashboards() -> None:
    """Measure how long dashboards take to make, beside grafanalib's own writing of the same objects."""
    click.echo(
        f"{'rollouts':>8} {'each, ms':>9} {'total, s':>9} {'written by grafanalib, s':>25} {'by us, s':>9}"
    )
    runs = [_made(count) for count in SIZES]
    for count, run in zip(SIZES, runs, strict=True):
        click.echo(
            f"{count:>8} {_MILLI * run.each:>9.1f} {run.total:>9.2f} {run.theirs:>25.2f} {run.ours:>9.2f}"
        )
    power = math.log(runs[-1].total / runs[0].total) / math.log(SIZES[-1] / SIZES[0])
    click.echo(f"CPU time; it grows with the number of rollouts to the power of {power:.2f}.")


def _made(count: int) -> Made:
    with tempfile.TemporaryDirectory(prefix="rollguard-bench-") as folder:
        for number in range(count):
            (Path(folder) / f"rollout-{number}.yaml").write_text(rollout(number), encoding="utf-8")
        loaded = load_rollouts(Path(folder))
    each, theirs, ours, started = [], 0.0, 0.0, time.process_time()
    for board in all_dashboards(loaded, _nothing):
        made = time.process_time()
        finish.text(board)
        done = time.process_time()
        each.append(done - started)
        ours += done - made
        write_dashboard(board, io.StringIO())
        started = time.process_time()
        theirs += started - done
    return Made(len(each), statistics.median(each), sum(each), theirs, ours)


def _nothing(_: Rollout) -> Sequence[Metric]:
    return ()


# Queries


@click.command("dashboard-queries")
@click.option("--rollout", "name", default="model-canary", show_default=True, help="Whose dashboard.")
def queries(name: str) -> None:
    """Measure how long Prometheus takes for all queries of a rollout's dashboard: 6 h of 500 series."""
    loaded = [one for one in load_rollouts(Path("rollouts")) if one.name == name]
    board = finish.finished(list(all_dashboards(loaded, exported_metrics))[2])
    asked = list(_targets(board))
    with tempfile.TemporaryDirectory(prefix="rollguard-bench-") as temporary:
        folder = Path(temporary)
        count = _write_history(folder, {target["expr"] for target in asked})
        with _prometheus(folder) as url:
            _ask_all(url, asked)
            before = _cpu_seconds(url)
            times = [_ask_all(url, asked) for _ in range(_ROUNDS)]
            cpu = (_cpu_seconds(url) - before) / _ROUNDS
    slowest = sorted(zip(_medians(times), asked, strict=True), key=lambda pair: pair[0], reverse=True)[:3]
    totals = sorted(_MILLI * sum(one) for one in times)
    quickest = _MILLI * sum(map(min, zip(*times, strict=True)))
    click.echo(
        f"{len(asked)} queries over 6 h of {count} series each second: {statistics.median(totals):.0f} ms"
    )
    click.echo(
        f"({totals[0]:.0f} to {totals[-1]:.0f} ms, one after another; the quickest answer to each:"
        f" {quickest:.0f} ms; {_MILLI * cpu:.0f} ms of CPU time)"
    )
    for seconds, target in slowest:
        click.echo(f"{_MILLI * seconds:>7.1f} ms  {' '.join(target['expr'].split())}")


def _targets(board: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for panel in board["panels"]:
        for one in panel["panels"] if panel["type"] == "row" else [panel]:
            yield from ({**target, "points": one["maxDataPoints"]} for target in one["targets"])
    annotations = board["annotations"]["list"]
    yield from (
        {"expr": one["expr"], "instant": False, "points": _POINTS_OF_ANNOTATION} for one in annotations
    )


def _medians(times: Sequence[Sequence[float]]) -> list[float]:
    return [statistics.median(column) for column in zip(*times, strict=True)]


def _ask_all(url: str, asked: Sequence[dict[str, Any]]) -> list[float]:
    """Ask as Grafana does, one query after another; return the seconds of each."""
    found, now = [], float(_END)
    with httpx.Client(timeout=60) as client:
        for target in asked:
            step = _RANGE_SECONDS // target["points"]
            expr = _resolved(target["expr"], 4 * step)
            data = {"query": expr, "time": now, "start": now - _RANGE_SECONDS, "end": now, "step": step}
            began = time.perf_counter()
            answer = client.post(f"{url}/{'query' if target['instant'] else 'query_range'}", data=data)
            found.append(time.perf_counter() - began)
            answer.raise_for_status()
    return found


def _resolved(expr: str, interval_seconds: int) -> str:
    return expr.replace("$__rate_interval", f"{interval_seconds}s").replace("$__range", f"{_RANGE_SECONDS}s")


def _cpu_seconds(url: str) -> float:
    """Return what Prometheus says that it has used."""
    text = httpx.get(url.replace("/api/v1", "/metrics")).text
    return next(
        float(line.split()[1]) for line in text.splitlines() if line.startswith("process_cpu_seconds_total ")
    )


_END = 1_760_000_400
"""Some moment; all samples are older."""


def _write_history(folder: Path, exprs: set[str]) -> int:
    """Write blocks with a sample a second of every series that is asked for, and of others up to 500."""
    names = list(_series(exprs))
    text = folder / "history.txt"
    dice = random.Random(7)
    with text.open("w", encoding="ascii") as file:
        for name in names:
            level = dice.random()
            for second in range(_END - _RANGE_SECONDS, _END):
                file.write(f"{name} {level + 0.1 * dice.random():.4f} {second}\n")
        file.write("# EOF\n")
    command = [binaries.find(binaries.PROMTOOL), "tsdb", "create-blocks-from", "openmetrics", str(text)]
    subprocess.run([*command, str(folder / "data")], check=True, capture_output=True)
    text.unlink()
    return len(names)


def _series(exprs: set[str]) -> Iterator[str]:
    """Yield the series that the expressions select, of 20 features, and others up to 500."""
    wanted: dict[str, dict[str, str]] = {}
    for expr in exprs:
        nodes: list[promql_parser.Expr] = []
        promql_parser.walk(promql_parser.parse(_resolved(expr, 60)), pre_visit=nodes.append)
        for node in nodes:
            if isinstance(node, promql_parser.VectorSelector):
                equal = {
                    one.name: one.value for one in node.matchers.matchers if str(one.op) == "MatchOp.Equal"
                }
                wanted.setdefault(f"{node.name} {json.dumps(equal)}", {**equal, "__name__": node.name or ""})
    count = 0
    for labels in wanted.values():
        name = labels.pop("__name__")
        for number in range(_FEATURES if name in _BY_FEATURE else 1):
            inside = {**labels, "feature": f"f{number}"} if name in _BY_FEATURE else labels
            yield name + "{" + ",".join(f'{key}="{value}"' for key, value in inside.items()) + "}"
            count += 1
    yield from (f'other{{number="{number}"}}' for number in range(_SERIES - count))


@contextmanager
def _prometheus(folder: Path) -> Iterator[str]:
    place = f"127.0.0.1:{free_port()}"
    (folder / "prometheus.yml").write_text("{}\n", encoding="ascii")
    command = [
        binaries.find(binaries.PROMETHEUS),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        "--storage.tsdb.retention.time=10y",
        f"--web.listen-address={place}",
        "--log.level=warn",
    ]
    child = Child("prometheus", command, folder / "prometheus.log", f"http://{place}/-/ready")
    child.start()
    try:
        child.wait_until_ready(60)
        yield f"http://{place}/api/v1"
    finally:
        child.stop()
