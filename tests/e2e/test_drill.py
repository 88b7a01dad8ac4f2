"""`rollguard drill` through the real path: Prometheus's rule, Alertmanager, the ledger, a flag by OFREP."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.e2e.conftest import NAME, Scene, eventually


def drill(scene: Scene, within: str) -> subprocess.CompletedProcess[str]:
    server = f"http://{scene.stack.addresses.control_plane}"
    command = [sys.executable, "-m", "rollguard", "drill", NAME, "--within", within, "--json"]
    command += ["--server", server, "--token-file", str(scene.stack.token_file)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_drill_takes_the_way_of_a_rollback_and_leaves_the_rollout_alone(scene: Scene) -> None:
    with scene.stack.running():
        eventually(lambda: scene.query("rollguard_drill") == [0.0], "the control plane in Prometheus")
        before = scene.status()
        found = drill(scene, "1m")
        assert found.returncode == 0, found.stdout + found.stderr
        steps = json.loads(found.stdout)["evidence"]["steps"]
        assert list(steps) == ["rule fires", "Alertmanager delivers", "flag flipped and seen"]
        kinds = [entry["kind"] for entry in scene.client.get("history")]
        assert kinds == ["drill", "drill_flip", "drill_end"]
        assert scene.status()["position"] == before["position"]
        scene.stack.alertmanager.kill()
        eventually(lambda: scene.query("rollguard_drill") == [0.0], "the end of the drill in Prometheus")
        eventually(lambda: not scene.query('ALERTS{alertname="RollguardDrill"}'), "the end of its alert")
        eventually(lambda: json.loads(drill(scene, "1s").stdout or "{}"), "a second drill to begin")
        last = scene.client.get("history")[-1]
        assert (last["kind"], last["reason"]) == ("drill_end", "failed: no alert came")
