"""`rollguard drill` through the real path: Prometheus's rule, Alertmanager, the ledger, a flag by OFREP."""

from __future__ import annotations

import json
import subprocess
import sys

from rollguard.conventions import DRILL
from tests.e2e.conftest import NAME, Scene
from tests.polling import eventually


def drill(scene: Scene, within: str) -> subprocess.CompletedProcess[str]:
    server = f"http://{scene.stack.addresses.control_plane}"
    command = [sys.executable, "-m", "rollguard", "drill", NAME, "--within", within, "--json"]
    command += ["--server", server, "--token-file", str(scene.stack.token_file)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_drill_takes_the_way_of_a_rollback_and_leaves_the_rollout_alone(scene: Scene) -> None:
    with scene.stack.running():
        eventually(lambda: scene.query("rollguard_drill") == [0.0], "the control plane in Prometheus", 60)
        before = scene.status()["position"]
        scene.stack.prometheus.kill()
        failed = drill(scene, "500ms")
        assert (failed.returncode, json.loads(failed.stdout)["reason"]) == (1, "failed: no alert came")
        scene.stack.prometheus.start()
        scene.stack.prometheus.wait_until_ready(60)
        eventually(lambda: _over(scene), "the end of the drill in Prometheus", 60)
        passed = drill(scene, "2m")
        assert passed.returncode == 0, passed.stdout + passed.stderr
        steps = json.loads(passed.stdout)["evidence"]["steps"]
        assert list(steps) == ["rule fires", "Alertmanager delivers", "flag flipped and seen"]
        kinds = [entry["kind"] for entry in scene.client.get("history")]
        assert kinds == ["drill", "drill_end", "drill", "drill_flip", "drill_end"]
        assert scene.status()["position"] == before


def _over(scene: Scene) -> bool:
    """Return whether Prometheus has seen the end of a drill, and evaluated its rule since."""
    return scene.query("rollguard_drill") == [0.0] and not scene.query(f'ALERTS{{alertname="{DRILL}"}}')
