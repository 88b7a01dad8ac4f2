"""How many flags a second the control plane evaluates by OFREP, and how soon its clients see a flip.

The server is a process of its own, as `rollguard serve` starts it, with a flag in its canary stage. The load
comes from this process over kept connections, each asking for one flag after the other, each time for another
user, with a token, as a service does that reads flags often: without one 200 a second are answered to each
address. The flips are commits by the JSON API; the time runs from its answer until a client reads the new
value.

    python -m bench flags --seconds 5
"""

from __future__ import annotations

import asyncio
import itertools
import json
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import httpx
from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext

from rollguard.cli.local.processes import Child, free_port
from tests.javascript import MissingNodeError, installed
from tests.serving import serve_command

KEY = "bench-flag"
TOKEN = "a-token-of-the-bench-0123456789"

_BEARER = {"authorization": f"Bearer {TOKEN}"}
_HEAD = f"POST /ofrep/v1/evaluate/flags/{KEY} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n"

_ROLLOUT = f"""\
rollout: {KEY}
title: A flag that is read
owner: bench
scrape: {{job: {KEY}, targets: ["127.0.0.1:1"]}}
flag: {{key: {KEY}, variants: {{candidate: true, active: false}}, serve: candidate, fallback: active}}
stages:
  - {{name: canary, percent: 50}}
  - {{name: ramp, percent: 50}}
  - {{name: full, percent: 100}}
guards:
  - {{alert: Breach, use: threshold, with: {{metric: x, above: 1}}, severity: critical, action: notify}}
rollback: {{cooldown: 1ms}}
"""


@contextmanager
def _serving(folder: Path) -> Iterator[str]:
    """Run a control plane whose flag is in its canary stage, and yield its URL."""
    (folder / "rollouts").mkdir()
    (folder / "rollouts" / "bench.yaml").write_text(_ROLLOUT, encoding="utf-8")
    (folder / "token").write_text(TOKEN, encoding="ascii")
    url = f"http://127.0.0.1:{free_port()}"
    command = serve_command(folder, url, rollouts=folder / "rollouts")
    child = Child("control plane", command, folder / "serve.log", f"{url}/readyz")
    child.start()
    try:
        child.wait_until_ready(30)
        _act(url, "start")
        yield url
    finally:
        child.stop()


def _act(url: str, verb: str) -> None:
    answer = httpx.post(
        f"{url}/api/v1/rollouts/{KEY}/{verb}",
        json={"actor": "bench", "reason": "bench", **({"early": True} if verb == "promote" else {})},
        headers=_BEARER,
    )
    answer.raise_for_status()


# Load


async def _ask(port: int, user: int, until: float, took: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for number in itertools.count():
        body = json.dumps({"context": {"targetingKey": f"user-{user}-{number}"}}).encode()
        begun = time.perf_counter()
        writer.write(f"{_HEAD}content-length: {len(body)}\r\n\r\n".encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        length = int(answer.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        took.append(time.perf_counter() - begun)
        if not answer.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(answer.decode())
        if time.perf_counter() > until:
            break
    writer.close()


async def _load(port: int, connections: int, seconds: float) -> list[float]:
    took: list[float] = []
    until = time.perf_counter() + seconds
    await asyncio.gather(*(_ask(port, user, until, took) for user in range(connections)))
    return took


def _run_load(port: int, connections: int, seconds: float) -> tuple[float, float]:
    begun = time.perf_counter()
    took = asyncio.run(_load(port, connections, seconds))
    elapsed = time.perf_counter() - begun
    return len(took) / elapsed, statistics.quantiles(took, n=100)[98]


# Flips


def _turn(url: str, on: bool) -> None:
    """Bring the flag to everybody, or back to the fallback; the last commit is the flip."""
    for verb in ("start", "promote", "promote") if on else ("rollback", "acknowledge"):
        _act(url, verb)


def _python_flips(url: str, user: str, trials: int) -> list[float]:
    provider = OFREPProvider(url, timeout=5.0, headers_factory=lambda: _BEARER)
    api.set_provider(provider)
    client = api.get_client()
    context = EvaluationContext(targeting_key=user)
    took = []
    for number in range(trials):
        wanted = number % 2 == 1
        _turn(url, wanted)
        begun = time.perf_counter()
        while client.get_boolean_value(KEY, not wanted, context) is not wanted:
            pass
        took.append(time.perf_counter() - begun)
    provider.session.close()
    return took


def _web_flips(url: str, user: str, trials: int) -> list[float]:
    pipe = subprocess.PIPE
    with subprocess.Popen([*installed("web.mjs"), url, KEY, user], stdin=pipe, stdout=pipe, text=True) as web:
        assert web.stdout is not None
        web.stdout.readline()
        took = []
        for number in range(trials):
            wanted = number % 2 == 1
            _turn(url, wanted)
            begun = time.time()
            seen = json.loads(web.stdout.readline())
            if seen["value"] is not wanted:
                raise RuntimeError(f"the web client sees {seen}")
            took.append(seen["at"] / 1000 - begun)
        web.kill()
    return took


def _not_in_the_canary(url: str) -> str:
    """Return a user who gets the fallback in the canary stage, so that the last promotion is the flip."""
    for number in itertools.count():
        user = f"user-{number}"
        path = f"{url}/ofrep/v1/evaluate/flags/{KEY}"
        if httpx.post(path, json={"context": {"targetingKey": user}}).json()["value"] is False:
            return user
    raise AssertionError


def _report(name: str, took: list[float]) -> None:
    middle, worst = statistics.median(took), max(took)
    click.echo(f"flip -> {name}: p50 {middle * 1000:.1f} ms, max {worst * 1000:.1f} ms ({len(took)} flips)")


@click.command(help=__doc__)
@click.option("--seconds", type=float, default=5.0, show_default=True, help="Of load, for each line.")
@click.option("--trials", type=click.IntRange(min=2), default=40, show_default=True, help="Flips.")
def flags(seconds: float, trials: int) -> None:
    """Print evaluations per second, and how long clients take to see a flip."""
    click.echo(f"{platform.machine()}, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as folder, _serving(Path(folder)) as url:
        port = int(url.rsplit(":", 1)[1])
        for connections in (1, 16):
            rate, slow = _run_load(port, connections, seconds)
            plural = "s" if connections > 1 else ""
            click.echo(
                f"{connections} connection{plural}: {rate:,.0f} evaluations/s, p99 {slow * 1000:.1f} ms"
            )
        user = _not_in_the_canary(url)
        _turn(url, on=False)
        _turn(url, on=True)
        _report("seen by the Python OFREP client", _python_flips(url, user, trials))
        _turn(url, on=False)
        _turn(url, on=True)
        try:
            _report("seen by a web client over SSE", _web_flips(url, user, trials))
        except MissingNodeError as error:
            click.echo(f"web client: not measured, as {error}")
