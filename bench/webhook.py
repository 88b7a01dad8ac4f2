"""Alerts to flags, beside Debian's `webhook` running a script that writes the same file; a storm of alerts.

The control plane is a process of its own, as `rollguard serve` starts it, with 100 rollouts that each have a
flagd file as their target. Each request is one alert that takes one rollout back: none is a repetition, which
would cost no commit. Its 2xx comes after the entry is on disk and OFREP serves the fallback; the file follows
from the ledger, and how long after the last reply the last one was replaced is told beside. The peer keeps no
ledger and serves no flags: it answers when its script has ended, which writes the rollout's file anew, syncs
it, renames it and syncs the folder, as the control plane does. Both are asked over kept connections, each
request for another rollout; between two rounds all rollouts start anew, which is not measured.

The storm is 10,000 notifications of one alert each, for 100 rollouts in random order. Measured are the time
from a rollout's first alert to the reply that its flag is off, what was lost or decided twice, and memory.

With `--strangers 40`, so many callers without a token sit on every open path in every second round, and ask
again as soon as it is answered: the times with them and without are of one run.

    python -m bench webhook --rounds 5
    python -m bench webhook --strangers 40
"""

from __future__ import annotations

import asyncio
import json
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import click
import httpx

from rollguard.cli.local.processes import Child, free_port
from tests.serving import serve_command

NAMES = [f"bench-{number}" for number in range(1, 101)]
STORM = 10_000
TOKEN = "a-token-of-the-bench-0123456789"
Measured: TypeAlias = tuple[float, list[float], float]
"""Requests per second; what each took, sorted; how long after the last reply a file was replaced; seconds."""

Reply: TypeAlias = tuple[str, float, float]
"""A rollout, when its alert was sent, and when the reply came; seconds."""

WEBHOOK = Path(__file__).parents[1] / ".tools" / "extras" / "webhook"

_ROLLOUT = """\
rollout: {name}
title: A flag that is turned off
owner: bench
scrape: {{job: {name}, targets: ["127.0.0.1:1"]}}
flag: {{key: {name}, variants: {{candidate: true, active: false}}, serve: candidate, fallback: active}}
stages:
  - {{name: full, percent: 100}}
guards:
  - {{alert: Breach, use: threshold, with: {{metric: x, above: 1}}, severity: critical, action: rollback}}
rollback: {{cooldown: 1ms}}
targets:
  - flagd-file: {{path: flags/{name}.json}}
"""

_SCRIPT = """\
#!/bin/sh
set -e
cat >"flags/$1.json.new" <<END
{"flags": {"$1": {"state": "ENABLED", "variants": {"candidate": true, "active": false},
"defaultVariant": "active", "targeting": {}}}}
END
sync "flags/$1.json.new"
mv "flags/$1.json.new" "flags/$1.json"
sync "flags"
"""


class _Rollguard:
    """A control plane in a folder."""

    head = f"POST /alerts HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n"

    def __init__(self, folder: Path) -> None:
        self.flags = folder / "flags"
        for name in ("rollouts", "flags"):
            (folder / name).mkdir()
        for name in NAMES:
            (folder / "rollouts" / f"{name}.yaml").write_text(_ROLLOUT.format(name=name), encoding="utf-8")
        (folder / "token").write_text(TOKEN, encoding="ascii")
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        command = serve_command(folder, self.url, "--time-scale", "1000000", rollouts=folder / "rollouts")
        self.child = Child("control plane", command, folder / "serve.log", f"{self.url}/readyz")
        self._client = httpx.Client(
            base_url=self.url, headers={"authorization": f"Bearer {TOKEN}"}, timeout=60
        )

    def body(self, name: str, instance: str = "a", status: str = "firing") -> bytes:
        """Return what Alertmanager would send of one alert."""
        labels = {"rollout": name, "guard": "Breach", "alertname": "Breach", "instance": instance}
        alert = {
            "status": status,
            "labels": labels,
            "annotations": {"description": "x is 2, above 1"},
            "startsAt": datetime.now(UTC).isoformat(),
            "fingerprint": f"{name}-{instance}",
        }
        return json.dumps({"version": "4", "alerts": [alert]}).encode()

    def prepare(self) -> None:
        """Start every rollout anew, and wait until its target follows."""
        states = {row["rollout"]: row["state"] for row in self._get("rollouts")}
        for name, state in states.items():
            resolved = self.body(name, status="resolved")
            self._client.post("/alerts", content=resolved).raise_for_status()
            for verb in ("acknowledge", "start") if state == "ROLLBACK" else ("start",):
                answer = self._client.post(f"/api/v1/rollouts/{name}/{verb}", json={"actor": "bench"})
                answer.raise_for_status()
        self.settle()

    def settle(self) -> None:
        """Wait until every target follows."""
        while not all(target["applied"] for row in self._get("rollouts") for target in row["targets"]):
            time.sleep(0.1)

    def off(self) -> int:
        """Return how many rollouts were taken back, exactly once each in this run."""
        runs = {row["rollout"]: row["run"] for row in self._get("rollouts") if row["state"] == "ROLLBACK"}
        found = Counter(
            (entry["rollout"], entry["run"]) for entry in self._history() if entry["kind"] == "rollback"
        )
        return sum(found[pair] == 1 for pair in runs.items())

    def faults(self) -> int:
        """Return how often the ledger's chain is broken."""
        return len(self._get("verify")["faults"])

    def memory(self) -> float:
        """Return the most memory that it held so far, MB."""
        text = Path(f"/proc/{self.child.pid}/status").read_text(encoding="ascii")
        return int(text.split("VmHWM:")[1].split()[0]) / 1000

    def _history(self) -> list[dict[str, Any]]:
        """Return all entries; the API hands them out by the page."""
        found: list[dict[str, Any]] = []
        while page := self._get(f"history?after={found[-1]['seq'] if found else 0}"):
            found += page
        return found

    def _get(self, path: str) -> Any:
        answer = self._client.get(f"/api/v1/{path}")
        answer.raise_for_status()
        return answer.json()


class _Peer:
    """Debian's webhook in a folder, with a script that writes the file of a rollout."""

    head = "POST /hooks/rollback HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"

    def __init__(self, folder: Path) -> None:
        self.flags = folder / "flags"
        self.flags.mkdir()
        script = folder / "rollback.sh"
        script.write_text(_SCRIPT, encoding="ascii")
        script.chmod(0o755)
        hook = {
            "id": "rollback",
            "execute-command": str(script),
            "command-working-directory": str(folder),
            "include-command-output-in-response": True,  # hence it answers when the script has ended
            "pass-arguments-to-command": [{"source": "payload", "name": "rollout"}],
        }
        (folder / "hooks.json").write_text(json.dumps([hook]), encoding="utf-8")
        self.port = free_port()
        command = [
            *(str(WEBHOOK), "-hooks", str(folder / "hooks.json")),
            *("-ip", "127.0.0.1", "-port", str(self.port)),
        ]
        self.child = Child("webhook", command, folder / "webhook.log", f"http://127.0.0.1:{self.port}/")

    def body(self, name: str) -> bytes:
        """Return what its hook takes."""
        return json.dumps({"rollout": name}).encode()

    def prepare(self) -> None:
        """Do nothing: its script writes the file anew each time."""

    def settle(self) -> None:
        """Do nothing: its script has ended."""


@contextmanager
def _strangers(server: _Rollguard, count: int) -> Iterator[None]:
    """Have callers without a token at work."""
    command = [sys.executable, "-m", "bench.strangers", str(server.port), str(count), NAMES[0]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield
        finally:
            process.kill()


def _with_strangers(server: _Rollguard, count: int, rounds: int) -> Iterator[str]:
    """Yield the times of alerts without and with strangers, by turns in one run."""
    for connections in (1, 16):
        took: dict[int, list[float]] = {0: [], count: []}
        for _ in range(rounds):
            for present, times in took.items():
                server.prepare()
                bodies = [(name, server.body(name)) for name in NAMES]
                with _strangers(server, present) if present else nullcontext():
                    replies = asyncio.run(_send_all(server, bodies, connections))
                times += [after - before for _, before, after in replies]
        for present, times in took.items():
            p50, p99 = (sorted(times)[round(len(times) * share) - 1] * 1000 for share in (0.5, 0.99))
            who = f"{connections:>2} connections, {present:>3} strangers a path"
            yield f"{who}: p50 {p50:6.1f} ms   p99 {p99:6.1f} ms"
        ratio = statistics.median(took[count]) / statistics.median(took[0])
        yield f"{connections:>2} connections: {ratio:.2f} times as long with strangers, at the median"


Server = TypeVar("Server", _Rollguard, _Peer)


@contextmanager
def _running(server: Server) -> Iterator[Server]:
    server.child.start()
    try:
        server.child.wait_until_ready(60)
        yield server
    finally:
        server.child.stop()


# Load


async def _send(server: _Rollguard | _Peer, bodies: Iterator[tuple[str, bytes]]) -> list[Reply]:
    """Send on one connection what is left of the bodies, one after the other."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    replies = []
    for name, body in bodies:
        begun = time.perf_counter()
        writer.write(f"{server.head}content-length: {len(body)}\r\n\r\n".encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        length = int(answer.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        if not answer.startswith(b"HTTP/1.1 200"):
            raise click.ClickException(answer.decode())
        replies.append((name, begun, time.perf_counter()))
    writer.close()
    return replies


async def _send_all(
    server: _Rollguard | _Peer, bodies: Sequence[tuple[str, bytes]], connections: int
) -> list[Reply]:
    left = iter(bodies)
    parts = await asyncio.gather(*(_send(server, left) for _ in range(connections)))
    return [reply for part in parts for reply in part]


def _rounds(server: _Rollguard | _Peer, connections: int, rounds: int) -> Measured:
    took: list[float] = []
    elapsed = behind = 0.0
    for _ in range(rounds):
        server.prepare()
        bodies = [(name, server.body(name)) for name in NAMES]
        begun = time.perf_counter()
        replies = asyncio.run(_send_all(server, bodies, connections))
        elapsed += time.perf_counter() - begun
        ended = time.time()
        took += [after - before for _, before, after in replies]
        server.settle()
        last = max(file.stat().st_mtime for file in server.flags.glob("*.json"))
        behind = max(behind, last - ended)
    return len(took) / elapsed, sorted(took), behind


def _line(what: str, connections: int, rate: float, took: Sequence[float], behind: float) -> str:
    p50, p99 = (took[round(len(took) * share) - 1] * 1000 for share in (0.5, 0.99))
    plural = "s" if connections > 1 else " "
    times = f"p50 {p50:6.1f} ms   p99 {p99:6.1f} ms"
    files = f"files {behind * 1000:.0f} ms later at most" if behind else "files before"
    return f"{what:<10} {connections:>2} connection{plural} {rate:6.0f} /s   {times}   {files}"


def _storm(server: _Rollguard) -> str:
    server.prepare()
    names = [name for name in NAMES for _ in range(STORM // len(NAMES))]
    random.Random(1).shuffle(names)
    bodies = [(name, server.body(name, str(number))) for number, name in enumerate(names)]
    replies = asyncio.run(_send_all(server, bodies, 16))
    first = {name: (before, after) for name, before, after in sorted(replies, key=lambda it: -it[1])}
    slowest = max(after - before for before, after in first.values())
    seconds = max(after for *_, after in replies) - min(before for _, before, _ in replies)
    return (
        f"storm: {len(replies):,} alerts for {len(NAMES)} rollouts in {seconds:.1f} s; "
        f"off, once each: {server.off()}; faults of the chain: {server.faults()}; "
        f"first alert -> off at most {slowest * 1000:.0f} ms"
    )


@click.command(help=__doc__)
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="Of 100 requests.")
@click.option("--strangers", type=click.IntRange(min=1), help="Callers without a token on each open path.")
def webhook(rounds: int, strangers: int | None) -> None:
    """Print rates and times of Rollguard and its peer, then those of a storm; or those with strangers."""
    click.echo(
        f"{platform.machine()}, Python {platform.python_version()}; {rounds} rounds of {len(NAMES)} alerts"
    )
    with (
        tempfile.TemporaryDirectory(prefix="rollguard-bench-") as folder,
        _running(_Rollguard(Path(folder))) as ours,
    ):
        if strangers:
            for line in _with_strangers(ours, strangers, rounds):
                click.echo(line)
            return
        for connections in (1, 16):
            click.echo(_line("rollguard", connections, *_rounds(ours, connections, rounds)))
        idle = ours.memory()
        click.echo(_storm(ours))
        click.echo(f"memory at most: {idle:.0f} MB before the storm, {ours.memory():.0f} MB after it")
    if not WEBHOOK.exists():
        click.echo("webhook: not measured, as `make extras` found none")
        return
    with (
        tempfile.TemporaryDirectory(prefix="rollguard-bench-") as folder,
        _running(_Peer(Path(folder))) as peer,
    ):
        for connections in (1, 16):
            click.echo(_line("webhook", connections, *_rounds(peer, connections, rounds)))
