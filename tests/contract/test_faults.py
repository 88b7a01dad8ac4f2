"""The control plane while what it needs fails: database, clock, a target. No rollback is lost or late."""

from __future__ import annotations

import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.contract.planes import (
    GUARDS,
    MakePlane,
    Plane,
    check_ledger,
    check_stream,
    eventually,
    write_rollouts,
)
from tests.servers import PostgresServer

EXTRAS = Path(__file__).parents[2] / ".tools" / "extras"
HOUR = 3600.0


def send_until_answered(plane: Plane, rollout: str, guard: str) -> None:
    """Send an alert until it is answered with a 2xx, as Alertmanager does."""

    def answered() -> bool:
        try:
            plane.notify(rollout, guard)
        except httpx.HTTPError:
            return False
        return True

    eventually(answered, f"an answer about {rollout}")


def test_postgresql_that_is_killed_in_a_storm_and_comes_back_loses_no_rollback(
    make_plane: MakePlane, tmp_path: Path, redis_url: str, postgres_server: PostgresServer
) -> None:
    names = [f"release-{number}" for number in range(12)]
    plane = make_plane(
        "plane", write_rollouts(tmp_path / "rollouts", names, redis_url), postgres_server.url()
    )
    plane.start()
    for name in names:
        plane.begin(name)
    with ThreadPoolExecutor(6) as pool:
        sent = [pool.submit(send_until_answered, plane, name, guard) for name in names for guard in GUARDS]
        eventually(lambda: any(one.done() for one in sent), "a first answer")
        postgres_server.kill()
        with pytest.raises(httpx.HTTPStatusError, match="503"):
            plane.notify(names[-1], "Errors")
        postgres_server.start()
        for one in sent:
            one.result()
    check_ledger(plane, names, [])
    check_stream(plane, redis_url, names)


@pytest.fixture
def library() -> Path:
    found = EXTRAS / "libfaketime.so.1"
    if not found.exists() and os.environ.get("CI"):
        pytest.fail(f"{found} is missing; `make extras` fetches it")
    if not found.exists():
        pytest.skip("needs libfaketime; `make extras` fetches it")
    return found


def test_a_clock_that_jumps_back_an_hour_keeps_no_rollback_back(
    make_plane: MakePlane, tmp_path: Path, redis_url: str, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offset = tmp_path / "offset"
    offset.write_text("+0")
    monkeypatch.setenv("LD_PRELOAD", str(library))
    monkeypatch.setenv("FAKETIME_TIMESTAMP_FILE", str(offset))
    monkeypatch.setenv("FAKETIME_NO_CACHE", "1")
    monkeypatch.setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    rollouts = write_rollouts(tmp_path / "rollouts", ["before", "after"], redis_url)
    plane = make_plane("plane", rollouts, f"sqlite:///{tmp_path / 'ledger.db'}")
    plane.start()
    monkeypatch.undo()
    for name in ("before", "after"):
        plane.begin(name)
    plane.notify("before", "Errors")
    offset.write_text("-3600")
    plane.notify("after", "Errors", at=time.time() - HOUR)
    before, after = (entry["at"] for entry in plane.get("history") if entry["kind"] == "rollback")
    assert after == pytest.approx(before - HOUR, abs=600)
    check_ledger(plane, ["before", "after"], [])
    check_stream(plane, redis_url, ["before", "after"])


def test_a_target_that_hangs_keeps_no_other_rollout_back(
    make_plane: MakePlane, tmp_path: Path, redis_url: str
) -> None:
    names = ["hangs", "flips"]
    rollouts = write_rollouts(tmp_path / "rollouts", names, redis_url)
    text = (rollouts / "hangs.yaml").read_text().partition("\ntargets:")[0]
    command = "\ntargets:\n  - command: {name: restart, run: {fallback: [sleep, '120']}, timeout: 2m}\n"
    (rollouts / "hangs.yaml").write_text(text + command)
    plane = make_plane("plane", rollouts, f"sqlite:///{tmp_path / 'ledger.db'}")
    plane.start()
    for name in names:
        plane.begin(name)
    plane.notify("hangs", "Errors")
    assert not plane.flag("hangs")
    plane.notify("flips", "Errors")
    eventually(lambda: plane.applied("flips"), "the other target follows")
    assert not plane.applied("hangs")
    check_ledger(plane, names, [])
    plane.child.kill()


_HANGING = """
targets:
  - command: {{name: restart, run: {{fallback: [sleep, "120"]}}, timeout: 2m}}
  - http:
      name: service
      url: http://127.0.0.1:{port}
      timeout: 2m
      send: {{fallback: [{{path: /off}}], full: []}}
      read: {{expect: {{fallback: {{enabled: false}}, full: {{}}}}}}
  - yaml-file: {{path: app.yml, values: {{fallback: {{mode: disabled}}, full: {{mode: full}}}}}}
"""


def test_targets_that_hang_keep_no_file_of_their_rollout_exposed(
    make_plane: MakePlane, tmp_path: Path, redis_url: str
) -> None:
    rollouts = write_rollouts(tmp_path / "rollouts", ["hangs"], redis_url)
    text = (rollouts / "hangs.yaml").read_text().partition("\ntargets:")[0]
    plane = make_plane("plane", rollouts, f"sqlite:///{tmp_path / 'ledger.db'}")
    config = tmp_path / "plane" / "app.yml"
    config.write_text("mode: full\n")
    with socket.create_server(("127.0.0.1", 0)) as never_answers:
        hanging = _HANGING.format(port=never_answers.getsockname()[1])
        (rollouts / "hangs.yaml").write_text(text + hanging)
        plane.start()
        plane.begin("hangs")
        plane.notify("hangs", "Errors")
        eventually(lambda: config.read_text() == "mode: disabled\n", "the file follows")
        pending = [target["applied"] for target in plane.get("rollouts/hangs")["targets"]]
        plane.child.kill()
    assert pending == [False, False, True]
