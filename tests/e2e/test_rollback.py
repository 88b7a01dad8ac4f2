"""From an event to a flag that is off, with real Prometheus and Alertmanager, and with processes killed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.contrib.provider.flagd import FlagdProvider
from openfeature.contrib.provider.flagd.config import ResolverType
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext

from rollguard.cli.local.processes import free_port
from rollguard.ledger import Ledger
from tests.e2e.conftest import NAME, Scene
from tests.polling import eventually

DIES_AFTER_COMMIT = Path(__file__).with_name("dies_after_commit.py")


@contextmanager
def file_client(path: Path) -> Iterator[OpenFeatureClient]:
    """A real OpenFeature client that reads a flagd file."""
    provider = FlagdProvider(
        resolver_type=ResolverType.FILE, offline_flag_source_path=str(path), deadline_ms=100
    )
    api.set_provider(provider, "file")
    try:
        yield api.get_client("file")
    finally:
        api.shutdown()


def test_an_event_in_the_log_turns_the_flag_off_everywhere(scene: Scene) -> None:
    with scene.stack.running():
        scene.roll_out_to_canary()
        key = scene.key_in_canary()
        eventually(lambda: "mode: canary" in scene.config.read_text(), "the application's file says canary")
        with file_client(scene.flags) as client:
            eventually(
                lambda: client.get_boolean_value(NAME, False, EvaluationContext(key)), "the candidate by file"
            )
            scene.break_parity()
            eventually(
                lambda: not client.get_boolean_value(NAME, True, EvaluationContext(key)),
                "the fallback by file",
            )
        eventually(lambda: "mode: disabled  #" in scene.config.read_text(), "the application's file is back")
        assert not scene.by_ofrep(key)
        (entry,) = scene.rollbacks()
        assert entry["reason"] == "OnnxParityFailure"
        assert "increase(onnx_parity_fail_total" in entry["evidence"]["query"]
        assert scene.client.get("verify")["faults"] == []


def test_killed_between_commit_and_reply_it_stays_off_and_was_decided_once(scene: Scene) -> None:
    usual = scene.stack.control_plane.command
    scene.stack.control_plane.command = [sys.executable, str(DIES_AFTER_COMMIT), *usual[3:]]
    with scene.stack.running():
        scene.roll_out_to_canary()
        key = scene.key_in_canary()
        eventually(
            lambda: _default_variant(scene) == "active" and _targeting(scene), "the canary in the file"
        )
        scene.break_parity()
        eventually(lambda: scene.stack.control_plane.ended() is not None, "the control plane's death")
        assert _targeting(scene), "no target may have been touched before the death"
        ledger = Ledger.open(f"sqlite:///{scene.stack.folder / 'ledger.db'}", read_only=True)
        kinds = [entry.kind for entry in ledger.entries()]  # while data begin, a guard may hold
        assert [kind for kind in kinds if kind not in {"hold", "release"}] == ["start", "promote", "rollback"]
        ledger.close()

        scene.stack.control_plane.command = usual
        scene.stack.control_plane.start()
        scene.stack.control_plane.wait_until_ready(20)
        assert not scene.by_ofrep(key)
        eventually(lambda: not _targeting(scene), "the fallback in the file, after the restart")
        # Alertmanager's delivery had no reply: it comes again, and the poll repeats it too.
        eventually(
            lambda: _metric(scene, "rollguard_notifications_total") >= 1, "the notification, once more"
        )
        assert len(scene.rollbacks()) == 1


def test_a_notification_that_never_came_is_decided_by_polling(scene: Scene) -> None:
    scene.stack.prepare()
    _send_notifications_nowhere(scene)
    scene.stack.prepare = lambda: None  # type: ignore[method-assign]
    with scene.stack.running():
        scene.roll_out_to_canary()
        scene.break_parity()
        eventually(lambda: scene.status()["state"] == "ROLLBACK", "the rollback")
        assert _metric(scene, "rollguard_notifications_total") == 0


def test_with_the_control_plane_dead_files_keep_the_last_state_and_ofrep_clients_their_default(
    scene: Scene,
) -> None:
    with scene.stack.running():
        scene.roll_out_to_canary()
        key = EvaluationContext(scene.key_in_canary())
        address = f"http://{scene.stack.addresses.control_plane}"
        api.set_provider(OFREPProvider(address), "ofrep")
        by_ofrep = api.get_client("ofrep")
        with file_client(scene.flags) as by_file:
            assert by_ofrep.get_boolean_value(NAME, False, key)
            eventually(lambda: by_file.get_boolean_value(NAME, False, key), "the candidate by file")
            scene.stack.control_plane.kill()
            assert by_file.get_boolean_value(NAME, False, key), "a file client keeps the last state"
            assert not by_ofrep.get_boolean_value(NAME, False, key), "an OFREP client falls to its default"


def _send_notifications_nowhere(scene: Scene) -> None:
    path = scene.stack.folder / "config" / "alertmanager.yml"
    nowhere = f"127.0.0.1:{free_port()}"
    path.write_text(
        path.read_text().replace(f"http://{scene.stack.addresses.control_plane}", f"http://{nowhere}")
    )


def _targeting(scene: Scene) -> object:
    return json.loads(scene.flags.read_text())["flags"][NAME]["targeting"]


def _default_variant(scene: Scene) -> str:
    return str(json.loads(scene.flags.read_text())["flags"][NAME]["defaultVariant"])


def _metric(scene: Scene, name: str) -> float:
    text = httpx.get(f"http://{scene.stack.addresses.control_plane}/metrics").text
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name} "))
