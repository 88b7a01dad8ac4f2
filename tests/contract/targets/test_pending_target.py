"""A target that cannot be written: the decision stands, and the target follows when it can."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from rollguard.cli.local.processes import Child, free_port
from rollguard.client import Client
from tests.polling import eventually
from tests.serving import serve_command

TOKEN = "0123456789abcdef"
CONFIG = "feature:\n  enabled: false  # by Rollguard\n"
ROLLOUT = """\
rollout: feature
title: A feature
owner: tests
scrape: {job: feature, targets: ["127.0.0.1:1"]}
flag: {key: feature, variants: {candidate: true, active: false}, serve: candidate, fallback: active}
stages:
  - {name: full, percent: 100}
guards:
  - {alert: Bad, use: increases, with: {metric: bad_total}, severity: critical, action: rollback}
targets:
  - yaml-file: {path: app.yml, values: {fallback: {feature.enabled: false}, full: {feature.enabled: true}}}
"""


class Served:
    """A control plane with one rollout that is fully on, and its file."""

    def __init__(self, folder: Path, address: str, client: Client) -> None:
        self.file = folder / "app.yml"
        self._url = f"http://{address}"
        self.client = client

    def roll_back(self) -> httpx.Response:
        """Send what Alertmanager sends."""
        alert = {
            "status": "firing",
            "labels": {"alertname": "Bad", "rollout": "feature", "guard": "Bad"},
            "startsAt": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 5)),
        }
        body = {"version": "4", "alerts": [alert]}
        return httpx.post(f"{self._url}/alerts", json=body, headers={"Authorization": f"Bearer {TOKEN}"})

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command line against it."""
        options = ("--server", self._url, "--token-file", str(self.file.parent / "token"))
        command = [sys.executable, "-m", "rollguard", *arguments, *options]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def flag(self) -> Any:
        """Return the flag by OFREP."""
        return httpx.post(f"{self._url}/ofrep/v1/evaluate/flags/feature", json={}).json()["value"]

    def target(self) -> dict[str, Any]:
        """Return the target's status."""
        found: dict[str, Any] = self.client.get("rollouts/feature")["targets"][0]
        return found

    def pending_metric(self) -> float:
        """Return the metric that says the target is behind."""
        headers = {"authorization": f"Bearer {TOKEN}"}  # so that it is made anew
        text = httpx.get(f"{self._url}/metrics", headers=headers).text
        line = next(line for line in text.splitlines() if line.startswith("rollguard_target_pending{"))
        return float(line.rsplit(" ", 1)[1])


until = partial(eventually, seconds=15.0)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    (tmp_path / "feature.yaml").write_text(ROLLOUT)
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "app.yml").write_text(CONFIG)
    address = f"127.0.0.1:{free_port()}"
    command = serve_command(tmp_path, f"http://{address}", rollouts=tmp_path / "feature.yaml")
    child = Child("control plane", command, tmp_path / "log", f"http://{address}/readyz")
    child.start()
    try:
        child.wait_until_ready(20)
        with Client(f"http://{address}", tmp_path / "token") as client:
            client.post("rollouts/feature/start", {"actor": "test"})
            found = Served(tmp_path, address, client)
            until(lambda: "enabled: true" in found.file.read_text(), "the stage in the file")
            yield found
    finally:
        child.stop()


def _remove(path: Path) -> None:
    path.unlink()


def _anchor(path: Path) -> None:
    path.write_text("feature:\n  enabled: &on true\nother: *on\n")


def _break(path: Path) -> None:
    path.write_text("feature: [\n")


@pytest.mark.parametrize("spoil", [_remove, _anchor, _break])
def test_the_decision_stands_and_the_target_follows_once_it_can(
    served: Served, spoil: Callable[[Path], None]
) -> None:
    spoil(served.file)
    before = served.file.read_bytes() if served.file.exists() else None
    answer = served.roll_back()
    assert answer.status_code == 200
    assert [entry["kind"] for entry in answer.json()["decided"]] == ["rollback"]
    assert served.flag() is False
    until(lambda: served.target()["error"], "the target's error in the status")
    assert served.pending_metric() == 1
    assert (served.file.read_bytes() if served.file.exists() else None) == before

    served.file.write_text(CONFIG.replace("false", "true"))
    until(lambda: served.file.read_text() == CONFIG, "the fallback in the file, comment kept")
    until(lambda: served.target()["applied"], "the target's status")
    assert served.pending_metric() == 0
    assert json.dumps(served.client.get("history")).count('"rollback"') == 1


def test_a_step_by_hand_says_which_target_has_not_followed(served: Served) -> None:
    served.file.unlink()
    found = served.command("rollback", "feature", "--reason", "a test")
    assert found.returncode == 0
    assert found.stderr.startswith("note: yaml-file:app.yml has not followed yet: ")


def test_a_step_by_hand_says_nothing_of_targets_that_follow(served: Served) -> None:
    assert "note: yaml-file" not in served.command("rollback", "feature", "--reason", "a test").stderr
