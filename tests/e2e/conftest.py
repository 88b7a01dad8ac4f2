"""A stack with real servers, and a service that writes events."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import pytest

from rollguard.cli.local.stack import Settings, Stack
from rollguard.client import Client, RefusedByServerError
from rollguard.generators.tools import binaries
from rollguard.spec.loading import load_rollout
from tests.polling import eventually

ROLLOUT = Path(__file__).parents[2] / "rollouts" / "model-canary.yaml"
NAME = "model-canary"
GUARDS = ("CanaryWinrateRollback", "DriftDetected", "OnnxParityFailure", "DriftDetected")
"""Those of the shipped guards that have data before the first event."""

SCALE = 60.0

_APP_CONFIG = """\
rollout:
  mode: disabled  # disabled | canary | full
  canary_fraction: 0.0
ai_scorer:
  shadow: {enabled: true}
""".replace("{enabled: true}", "\n    enabled: true")


@pytest.fixture(autouse=True)
def servers(need_binary: Callable[[binaries.Binary], str]) -> None:
    for binary in (binaries.PROMETHEUS, binaries.ALERTMANAGER):
        need_binary(binary)


class Scene:
    """A stack for the shipped rollout, its files in one folder, and what a test does with them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.events = folder / "var" / "events.jsonl"
        self.flags = folder / "var" / "flags.json"
        self.config = folder / "config" / "app.yml"
        for path in (self.events, self.config):
            path.parent.mkdir(parents=True)
        self.events.touch()
        self.config.write_text(_APP_CONFIG, encoding="utf-8")
        registry = folder / "models" / "registry"
        registry.mkdir(parents=True)
        (registry / "manifest.json").write_text('[{"id": "old"}, {"id": "new"}]', encoding="utf-8")
        for entry, slot in (("old", "active"), ("new", "shadow")):
            (registry / entry).mkdir()
            (registry / slot).symlink_to(entry)
        rollout = load_rollout(ROLLOUT)
        exporter = rollout.scrape.exporter
        assert exporter is not None
        assert exporter.canary is not None
        canary = exporter.canary.model_copy(update={"reference": None})
        scrape = rollout.scrape.model_copy(
            update={"exporter": exporter.model_copy(update={"canary": canary})}
        )
        guards = tuple(guard for guard in rollout.guards if guard.alert in GUARDS)
        self.stack = Stack(
            Settings(
                [rollout.model_copy(update={"scrape": scrape, "guards": guards})],
                folder / "rollguard",
                folder,
                SCALE,
                free_ports=True,
            )
        )

    @cached_property
    def client(self) -> Client:
        """A client of the control plane, once that runs."""
        return self.stack.client()

    def roll_out_to_canary(self) -> None:
        """Start the rollout and take it to its canary of 10 %, once Prometheus sees the counter."""
        eventually(lambda: self.query("onnx_parity_fail_total") == [0.0], "the counter at zero in Prometheus")
        self.client.post(f"rollouts/{NAME}/start", {"actor": "test"})
        eventually(self._promotes, "no guard fires for want of data")

    def _promotes(self) -> bool:
        """Promote the rollout, unless a guard holds it."""
        try:
            self.client.post(f"rollouts/{NAME}/promote", {"actor": "test", "early": True})
        except RefusedByServerError:
            return False
        return True

    def break_parity(self) -> None:
        """Let the scorer disagree with its exported model: OnnxParityFailure."""
        with self.events.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"event": "parity", "ts": time.time(), "ok": False}) + "\n")

    def query(self, promql: str) -> list[float]:
        """Return the values of an instant query."""
        url = f"http://{self.stack.addresses.prometheus}/api/v1/query"
        result = httpx.get(url, params={"query": promql}).json()["data"]["result"]
        return [float(item["value"][1]) for item in result]

    def status(self) -> dict[str, Any]:
        """Return the rollout as the control plane's API shows it."""
        found: dict[str, Any] = self.client.get(f"rollouts/{NAME}")
        return found

    def by_ofrep(self, key: str) -> bool:
        """Return what OFREP's single evaluation says."""
        url = f"http://{self.stack.addresses.control_plane}/ofrep/v1/evaluate/flags/{NAME}"
        return bool(httpx.post(url, json={"context": {"targetingKey": key}}).json()["value"])

    def key_in_canary(self) -> str:
        """Return a targeting key that gets the candidate."""
        keys = (f"user-{number}" for number in range(200))
        return next(key for key in keys if self.by_ofrep(key))

    def rollbacks(self) -> list[dict[str, Any]]:
        """Return the ledger's rollbacks."""
        return [entry for entry in self.client.get("history") if entry["kind"] == "rollback"]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """A scene whose stack is not yet running."""
    found = Scene(tmp_path)
    yield found
    if "client" in vars(found):
        found.client.close()
