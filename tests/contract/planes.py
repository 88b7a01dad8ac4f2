"""Control planes as processes, over rollouts whose one target is a Redis stream, and their alerts."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import redis

from rollguard.cli.local.processes import Child, free_port
from tests import polling
from tests.serving import serve_command

TOKEN = "a-token-of-a-test-0123456789"
GUARDS = ("Errors", "Latency")
STREAM = "control:events"

_ROLLOUT = """\
rollout: {name}
title: A release in a storm
owner: test
scrape: {{job: {name}, targets: ["127.0.0.1:1"]}}
flag: {{key: {name}, variants: {{candidate: true, active: false}}, serve: candidate, fallback: active}}
stages:
  - {{name: full, percent: 100}}
guards:
  - {{alert: Errors, use: threshold, with: {{metric: x, above: 1}}, severity: warning, action: rollback}}
  - {{alert: Latency, use: threshold, with: {{metric: y, above: 1}}, severity: warning, action: rollback}}
targets:
  - redis-stream: {{url: "{redis}", stream: "{stream}", modes: {{fallback: disabled, full: full}}}}
"""


class Plane:
    """A control plane over a ledger, which may be killed and started again."""

    def __init__(
        self,
        folder: Path,
        rollouts: Path,
        state: str,
        *,
        alertmanagers: Sequence[str] = (),
        prometheus: str | None = None,
        poll: str = "1h",
        options: Sequence[str] = (),
    ) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "token").write_text(TOKEN, encoding="ascii")
        self.url = f"http://127.0.0.1:{free_port()}"
        more = [
            *(part for url in alertmanagers for part in ("--alertmanager", url)),
            "--poll",
            poll,
            *options,
        ]
        if prometheus:
            more += ["--prometheus", prometheus]
        self.command = serve_command(folder, self.url, *more, rollouts=rollouts, state=state)
        self.child = Child("control plane", self.command, folder / "serve.log", f"{self.url}/readyz")
        self._client = httpx.Client(
            base_url=self.url, headers={"authorization": f"Bearer {TOKEN}"}, timeout=30, trust_env=False
        )

    def close(self) -> None:
        """End it, and what is connected to it."""
        self.child.stop()
        self._client.close()

    def start(self) -> None:
        """Start it and wait until it is ready."""
        self.child.start()
        self.child.wait_until_ready(60)

    def get(self, path: str) -> Any:
        """Return what its API answers."""
        answer = self._client.get(f"/api/v1/{path}")
        answer.raise_for_status()
        return answer.json()

    def metric(self, series: str) -> float:
        """Return the value of one of its series; 0 where there is none."""
        lines = self._client.get("/metrics").text.splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{series} ")), 0.0)

    def connections(self) -> int:
        """Return how many connections it has taken on its port."""
        port = f":{int(self.url.rpartition(':')[2]):04X}"
        rows = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
        return sum(row.split()[1].endswith(port) and row.split()[3] == "01" for row in rows)

    def begin(self, rollout: str) -> None:
        """Start a run, whatever rules Prometheus has loaded."""
        asked = {"actor": "ann", "unguarded": True}
        self._client.post(f"/api/v1/rollouts/{rollout}/start", json=asked).raise_for_status()

    def applied(self, rollout: str) -> bool:
        """Return whether its targets follow."""
        return all(target["applied"] for target in self.get(f"rollouts/{rollout}")["targets"])

    def notify(self, rollout: str, guard: str, at: float | None = None) -> list[dict[str, Any]]:
        """Tell it of an alert as Alertmanager does, and return what it decided."""
        labels = {"rollout": rollout, "guard": guard, "alertname": guard}
        begun = datetime.fromtimestamp(at or time.time(), UTC).isoformat()
        alert = {"status": "firing", "labels": labels, "annotations": {}, "startsAt": begun}
        answer = self._client.post("/alerts", content=json.dumps({"version": "4", "alerts": [alert]}))
        answer.raise_for_status()
        return list(answer.json()["decided"])

    def flag(self, rollout: str) -> bool:
        """Return what OFREP serves."""
        path = f"/ofrep/v1/evaluate/flags/{rollout}"
        return bool(self._client.post(path, json={"context": {"targetingKey": "u"}}).json()["value"])


MakePlane = Callable[..., Plane]
"""Takes a name, the folder of the rollouts and the ledger's URL."""


def write_rollouts(folder: Path, names: Sequence[str], redis_url: str) -> Path:
    folder.mkdir()
    for name in names:
        text = _ROLLOUT.format(name=name, redis=redis_url, stream=STREAM)
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return folder


eventually = partial(polling.eventually, seconds=60.0)


def check_ledger(plane: Plane, names: Sequence[str], told: Sequence[dict[str, Any]]) -> None:
    entries = plane.get("history")
    fallen = [entry["rollout"] for entry in entries if entry["kind"] == "rollback"]
    assert sorted(fallen) == sorted(names), "each rollout is rolled back, and once"
    assert plane.get("verify")["faults"] == []
    hashes = {entry["seq"]: entry["hash"] for entry in entries}
    assert {entry["seq"]: entry["hash"] for entry in told}.items() <= hashes.items(), "what was told is kept"
    assert not any(plane.flag(name) for name in names)


def check_stream(plane: Plane, url: str, names: Sequence[str]) -> None:
    eventually(lambda: all(plane.applied(name) for name in names), "all targets follow")
    with redis.Redis.from_url(url, decode_responses=True) as client:
        events = [fields for _, fields in client.xrange(STREAM)]
    off = [event["rollout"] for event in events if event["to"] == "disabled"]
    assert sorted(off) == sorted(names), "each switch is told, and once"
    assert len({event["id"] for event in events}) == len(events)
