"""What a scrape costs, beside prometheus_client and prometheus-sql-exporter. CPU milliseconds.

    python -m bench scrape

10,000 gauges with two labels, rendered as text: our exposition, and prometheus_client's Gauge children; the
values are new each time, the text is the same.

4,000 gauges from PostgreSQL: our SQL source with an exporter of one query, and Debian's
prometheus-sql-exporter with the same query; each asks and is scraped, compressed, five times a second. The
CPU of each process is divided by the queries that PostgreSQL counted.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import click
import httpx
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from bench.measuring import peer, spread
from rollguard.cli.local.processes import free_port
from rollguard.exporters.exposition.families import Family
from rollguard.exporters.exposition.text import Exposition
from rollguard.exporters.runtime.follower import Input
from rollguard.exporters.runtime.runner import Settings
from rollguard.exporters.runtime.runner import run as run_exporter
from rollguard.exporters.sources.interface import Result
from rollguard.exporters.sources.sql import Query, SqlSource
from rollguard.metric import Metric
from tests.servers import PostgresServer, running_postgres

SYMBOLS, HORIZONS = 2000, ("1D", "4h")
POLL_SECONDS = 0.2
_TICKS = os.sysconf("SC_CLK_TCK")
_QUERY = "SELECT symbol, horizon, divergence FROM series"
_DIVERGENCE = Metric("sql_divergence", "gauge", "Of a table.", ("symbol", "horizon"))
_CONFIG = """\
jobs:
- name: bench
  interval: {seconds:g}s
  connections: ["postgres://test@127.0.0.1:{port}/test?sslmode=disable"]
  queries:
  - {{name: divergence, help: Of a table., labels: [symbol, horizon], values: [divergence], query: "{query}"}}
"""


class Divergence:
    """An exporter of one query, as anybody would write it; see `exporters.runtime.follower.Exporter`."""

    name = title = "divergence"
    version = 1
    newest = None

    def __init__(self, url: str) -> None:
        self._source = SqlSource(url, [Query("divergence", _QUERY)], poll_seconds=POLL_SECONDS)
        self._family = Family(_DIVERGENCE, {})

    def inputs(self) -> Sequence[Input[Any]]:
        """Return the one table."""
        return (Input(self._source, self.feed),)

    def feed(self, results: tuple[Result, ...]) -> None:
        """Take in what is there now."""
        rows = results[0].rows
        found = {(row["symbol"], row["horizon"]): row["divergence"] for row in rows}
        self._family = Family(_DIVERGENCE, found)

    def families(self, end: float) -> Iterator[Family]:
        """Yield it."""
        yield self._family

    def save(self) -> bytes:
        """Return nothing: a table is asked anew."""
        return b"null"

    def restore(self, state: bytes) -> None:
        """Do nothing."""


def _rendered(series: int, runs: int) -> None:
    labels = [(f"symbol {number % 100}", f"host {number}") for number in range(series)]
    metric = Metric("bench", "gauge", "Of a bench.", ("a", "b"))
    registry = CollectorRegistry()
    gauge = Gauge("bench", "Of a bench.", ["a", "b"], registry=registry)
    exposition, rng = Exposition(), random.Random(1)
    ours, theirs = [], []
    for _ in range(runs + 1):
        values = {one: rng.gauss(0, 100) for one in labels}
        for one, value in values.items():
            gauge.labels(*one).set(value)
        ours.append(_milliseconds(partial(exposition.text, [Family(metric, values)])))
        theirs.append(_milliseconds(partial(generate_latest, registry)))
        if ours[-1][1] != theirs[-1][1]:
            raise click.ClickException("the texts differ")
    pairs = [(a[0], b[0]) for a, b in zip(ours, theirs, strict=True)][1:]  # the first renders the labels
    click.echo(f"{series:,} gauges as text, CPU milliseconds per scrape:")
    click.echo(f"  exporter          {spread([a for a, _ in pairs], 1)}; the first {ours[0][0]:.1f}")
    click.echo(f"  prometheus_client {spread([b for _, b in pairs], 1)}")
    click.echo(f"  ratio             {spread([b / a for a, b in pairs], 1)}")


def _milliseconds(work: Callable[[], bytes]) -> tuple[float, bytes]:
    start = time.process_time()
    found = work()
    return 1000 * (time.process_time() - start), found


def _from_sql(runs: int, seconds: float) -> None:
    with running_postgres() as server, tempfile.TemporaryDirectory() as folder:
        _fill(server)
        config = Path(folder) / "config.yml"
        config.write_text(_CONFIG.format(seconds=POLL_SECONDS, port=server.port, query=_QUERY))
        theirs, ours = free_port(), free_port()
        commands = (
            [sys.executable, "-m", "bench.scrape", server.url(), f"127.0.0.1:{ours}", str(folder)],
            [
                *(peer("prometheus-sql-exporter"), "-config.file", str(config)),
                *("-web.listen-address", f"127.0.0.1:{theirs}"),
            ],
        )
        costs = [
            [
                _per_query(server, command, port, seconds)
                for command, port in zip(commands, (ours, theirs), strict=True)
            ]
            for _ in range(runs)
        ]
    click.echo(f"{SYMBOLS * len(HORIZONS):,} gauges from PostgreSQL, CPU milliseconds per query and scrape:")
    click.echo(f"  exporter                {spread([a for a, _ in costs], 1)}")
    click.echo(f"  prometheus-sql-exporter {spread([b for _, b in costs], 1)}")
    click.echo(f"  ratio                   {spread([b / a for a, b in costs], 1)}")


def _fill(server: PostgresServer) -> None:
    with server.connect() as connection:
        connection.execute("CREATE TABLE series (symbol text, horizon text, divergence double precision)")
        for horizon in HORIZONS:
            connection.execute(
                "INSERT INTO series SELECT 'S' || n, %s, random() FROM generate_series(1, %s) AS n",
                (horizon, SYMBOLS),
            )


def _per_query(server: PostgresServer, command: Sequence[str], port: int, seconds: float) -> float:
    """CPU milliseconds of an exporter per query, each with a scrape."""
    with _running(command) as process, httpx.Client() as client, server.connect() as connection:
        _scraped(client, port)
        cpu, queries = _cpu(process.pid), _queries(connection)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            _scraped(client, port)
            time.sleep(POLL_SECONDS)
        return 1000 * (_cpu(process.pid) - cpu) / (_queries(connection) - queries)


def _scraped(client: httpx.Client, port: int) -> None:
    """Scrape until every series is there."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            text = client.get(f"http://127.0.0.1:{port}/metrics", headers={"Accept-Encoding": "gzip"}).text
            if text.count("sql_divergence{") == SYMBOLS * len(HORIZONS):
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise click.ClickException("an exporter does not show every series")


@contextmanager
def _running(command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(
        command, stdin=quiet, stdout=quiet, stderr=quiet, env={**os.environ, "LOGLEVEL": "error"}
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _queries(connection: Any) -> int:
    """How often the table was read; PostgreSQL tells a second late."""
    row = connection.execute("SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'series'").fetchone()
    return int(row[0])


@click.command()
@click.option("--series", default=10_000, show_default=True)
@click.option("--runs", default=5, show_default=True)
@click.option("--seconds", default=10.0, show_default=True, help="Of each run with PostgreSQL.")
def scrape(series: int, runs: int, seconds: float) -> None:
    """Measure what a scrape costs, beside prometheus_client and prometheus-sql-exporter."""
    _rendered(series, runs)
    _from_sql(runs, seconds)


if __name__ == "__main__":
    url, listen, folder = sys.argv[1:]
    run_exporter(Divergence(url), Settings(listen=listen, checkpoint=Path(folder) / "checkpoint"))
