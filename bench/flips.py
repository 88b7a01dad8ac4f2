"""Measure the time from a breach until clients read the flag as off, with the real servers.

Each trial has a rollout of its own, with a tiny exporter of one gauge, as Alertmanager lets the second alert
of a group wait. It sets the gauge over its limit at a random phase of the scrapes, and asks by OFREP and an
OpenFeature file client until both read the fallback. The floor by configuration is the phase of the scrape
plus the phase of the evaluation: up to two intervals. Beyond it, what is ours is the time from the webhook's
arrival until the target was read back, by the control plane's own histogram; a trial that the poll of
Alertmanager decided before the webhook came has no such time. No flip may be later than `rollguard budget`
computes for the same rollout; the file client may be later by the time between two of its looks.

    python -m bench flips --trials 20
"""

from __future__ import annotations

import platform
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import click
import httpx
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.evaluation_context import EvaluationContext

from demo.service import CLIENT_POLL_SECONDS, flag_client
from rollguard.cli.local.stack import Settings, Stack
from rollguard.client import Client
from rollguard.generators.budget import GuardBudget, budget
from rollguard.spec.loading import load_rollouts
from rollguard.spec.rollout import Rollout

_ROLLOUT = """\
rollout: {name}
title: A flag that is turned off
owner: bench
scrape: {{job: {name}, targets: ["127.0.0.1:{port}"], interval: {interval}}}
flag: {{key: {name}, variants: {{candidate: true, active: false}}, serve: candidate, fallback: active}}
stages:
  - {{name: full, percent: 100}}
guards:
  - alert: BenchBreach
    use: threshold
    with: {{metric: bench_value, above: 0.5}}
    severity: critical
    action: rollback
targets:
  - flagd-file: {{path: flags.json}}
"""


@dataclass(frozen=True)
class Trial:
    """One flip, in seconds.

    Args:
        by_ofrep: breach exposed → OFREP reads the fallback.
        by_file: breach exposed → a file client reads the fallback.
        ours: webhook received → every target read back.
    """

    by_ofrep: float
    by_file: float
    ours: float | None


class _Gauge:
    """An exporter of one gauge."""

    def __init__(self) -> None:
        self.value = 0.0
        gauge = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = f"bench_value {gauge.value}\n".encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()


def _until(condition: Callable[[], bool], every: float = 0.002, seconds: float = 60.0) -> float:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise click.ClickException(f"waited {seconds:g} s in vain")
        time.sleep(every)
    return time.monotonic()


class _Bench:
    """A running stack and its clients."""

    def __init__(self, stack: Stack, client: Client, flag: OpenFeatureClient) -> None:
        self._prometheus = f"http://{stack.addresses.prometheus}"
        self.rollouts = stack.rollouts
        self._client, self._flag = client, flag
        self._http = httpx.Client(base_url=f"http://{stack.addresses.control_plane}")

    def start(self, names: Sequence[str]) -> None:
        """Start every rollout, once Prometheus has scraped them all."""
        _until(lambda: self._scraped() == len(names), every=0.1)
        for name in names:
            self._client.post(f"rollouts/{name}/start", {"actor": "bench"})

    def trial(self, name: str, gauge: _Gauge) -> Trial:
        """Break one rollout, and measure until its flag is off."""
        _until(lambda: self._by_file(name) and self._by_ofrep(name))
        time.sleep(random.random())
        before = self._flip_seconds()
        gauge.value = 1.0
        began = time.monotonic()
        ofrep = _until(lambda: not self._by_ofrep(name))
        file = _until(lambda: not self._by_file(name))
        _until(lambda: all(target["applied"] for target in self._client.get(f"rollouts/{name}")["targets"]))
        after = self._flip_seconds()
        return Trial(ofrep - began, file - began, after[1] - before[1] if after[0] > before[0] else None)

    def _scraped(self) -> int:
        answer = httpx.get(f"{self._prometheus}/api/v1/query", params={"query": "bench_value"})
        return len(answer.json()["data"]["result"])

    def _by_ofrep(self, flag: str) -> bool:
        answer = self._http.post(f"/ofrep/v1/evaluate/flags/{flag}", json={"context": {"targetingKey": "a"}})
        return bool(answer.json()["value"])

    def _by_file(self, flag: str) -> bool:
        return self._flag.get_boolean_value(flag, False, EvaluationContext("a"))

    def _flip_seconds(self) -> tuple[float, float]:
        """Return count and sum of the flips by notification."""
        lines = dict(
            line.rsplit(" ", 1) for line in self._http.get("/metrics").text.splitlines() if line[:1] != "#"
        )
        name = "rollguard_flip_duration_seconds"
        return float(lines[f"{name}_count"]), float(lines[f"{name}_sum"])


@contextmanager
def _running(interval: str, gauges: Mapping[str, _Gauge]) -> Iterator[_Bench]:
    with tempfile.TemporaryDirectory(prefix="rollguard-bench-") as temporary:
        folder = Path(temporary)
        (folder / "rollouts").mkdir()
        for name, gauge in gauges.items():
            text = _ROLLOUT.format(name=name, port=gauge.port, interval=interval)
            (folder / "rollouts" / f"{name}.yaml").write_text(text, encoding="utf-8")
        rollouts = load_rollouts(folder / "rollouts")
        stack = Stack(Settings(rollouts, folder / "rollguard", folder, free_ports=True))
        with stack.running(), stack.client() as client:
            flags = folder / "flags.json"
            _until(flags.exists)
            bench = _Bench(stack, client, flag_client(flags))
            try:
                bench.start(list(gauges))
                yield bench
            finally:
                api.shutdown()


def _row(interval: str, what: str, seconds: Sequence[float], unit: float = 1.0, digits: int = 2) -> str:
    values = [min(seconds), statistics.median(seconds), max(seconds)]
    low, middle, high = (f"{value * unit:8.{digits}f}" for value in values)
    return f"{interval:>8}  {what:<48} {low} {middle} {high}"


def _rollbacks(rollout: Rollout) -> list[GuardBudget]:
    return [guard for guard in budget(rollout) if guard.action == "rollback"]


@click.command()
@click.option(
    "--trials", type=click.IntRange(min=1), default=20, show_default=True, help="For each interval."
)
@click.option("--interval", "intervals", multiple=True, default=("1s", "200ms"), show_default=True)
def flips(trials: int, intervals: Sequence[str]) -> None:
    """Measure breach exposed → flag read as off, beside the floor by configuration."""
    click.echo(
        f"{platform.machine()}, {trials} trials each; file client polls every {CLIENT_POLL_SECONDS:g} s"
    )
    click.echo(f"{'interval':>8}  {'':<48} {'min':>8} {'median':>8} {'max':>8}")
    for interval in intervals:
        gauges = {f"bench-{number}": _Gauge() for number in range(1, trials + 1)}
        found = []
        with _running(interval, gauges) as bench:
            bound = max(guard.worst for rollout in bench.rollouts for guard in _rollbacks(rollout))
            for number, (name, gauge) in enumerate(gauges.items(), 1):
                found.append(bench.trial(name, gauge))
                click.echo(f"\r{interval:>8}  trial {number} of {trials}", nl=False, err=True)
        click.echo("\r", nl=False, err=True)
        seconds = 1.0 if interval == "1s" else 0.2
        floor = f"0 to {2 * seconds:g} s by configuration: scrape + evaluation"
        click.echo(f"{interval:>8}  {floor}")
        click.echo(_row(interval, "breach exposed → OFREP reads off, s", [trial.by_ofrep for trial in found]))
        click.echo(
            _row(interval, "breach exposed → file client reads off, s", [trial.by_file for trial in found])
        )
        late = [
            trial for trial in found if trial.by_ofrep > bound or trial.by_file > bound + CLIENT_POLL_SECONDS
        ]
        click.echo(
            f"{interval:>8}  computed worst case: {bound:.2f} s; later were {len(late)} of {len(found)} flips"
        )
        ours = [trial.ours for trial in found if trial.ours is not None]
        what = f"ours: webhook received → flag off, ms (of {len(ours)})"
        click.echo(_row(interval, what, ours, 1000, 1))
