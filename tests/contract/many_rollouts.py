"""A control plane with 300 rollouts that share a flagd file."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import httpx

from rollguard.cli.local.processes import Child, free_port
from rollguard.ledger import Ledger
from rollguard.state import Transition
from tests.serving import serve_command

TOKEN = "0123456789abcdef"
NAMES = [f"release-{number}" for number in range(300)]
ROLLOUT = """\
rollout: {name}
title: A flag among many
owner: tests
scrape: {{job: {name}, targets: ["127.0.0.1:1"]}}
flag: {{key: {name}, variants: {{candidate: true, active: false}}, serve: candidate, fallback: active}}
stages:
  - {{name: full, percent: 100}}
guards:
  - {{alert: Bad, use: increases, with: {{metric: bad_total}}, severity: critical, action: rollback}}
targets:
  - flagd-file: {{path: flags.json}}
"""


class Served:
    """A control plane all of whose rollouts are on, and share a file."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "flags.json"
        (folder / "rollouts").mkdir()
        for name in NAMES:
            (folder / "rollouts" / f"{name}.yaml").write_text(ROLLOUT.format(name=name))
        (folder / "token").write_text(TOKEN)
        with closing(Ledger.open(f"sqlite:///{folder / 'ledger.db'}")) as ledger:
            started = [Transition(name, "start", 1, "ROLLING_OUT", "full", actor="ann") for name in NAMES]
            ledger.append(started, time.time() - 60)
        self.url = f"http://127.0.0.1:{free_port()}"
        self._client = httpx.Client(headers={"authorization": f"Bearer {TOKEN}"}, timeout=60)
        command = serve_command(folder, self.url, rollouts=folder / "rollouts")
        self.child = Child("control plane", command, folder / "log", f"{self.url}/readyz")

    def fall(self, names: Sequence[str] = NAMES) -> None:
        """Tell of a breach of some of them, as Alertmanager does."""
        now = datetime.now(UTC).isoformat()
        alerts = [
            {
                "status": "firing",
                "labels": {"alertname": "Bad", "rollout": name, "guard": "Bad"},
                "startsAt": now,
            }
            for name in names
        ]
        answer = self._client.post(f"{self.url}/alerts", json={"version": "4", "alerts": alerts})
        assert {entry["rollout"] for entry in answer.json()["decided"]} >= set(names)

    def all_are(self, variant: str) -> bool:
        """Return whether the file shows all flags with a variant."""
        if not self.file.exists():
            return False
        flags = json.loads(self.file.read_text())["flags"]
        return len(flags) == len(NAMES) and {flag["defaultVariant"] for flag in flags.values()} == {variant}

    def stop(self) -> None:
        """End it, and its client."""
        self._client.close()
        self.child.stop()

    def threads(self) -> int:
        """Return how many threads it has."""
        text = Path(f"/proc/{self.child.pid}/status").read_text()
        return int(text.split("Threads:")[1].split()[0])
