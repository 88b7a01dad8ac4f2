"""The control plane while what it needs fails: database, disk, clock, target. No rollback is lost or late."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from rollguard.cli.local.processes import ProcessError
from tests.contract.planes import (
    GUARDS,
    MakePlane,
    Plane,
    check_ledger,
    check_stream,
    eventually,
    write_rollouts,
)
from tests.servers import PostgresServer, RedisServer

EXTRAS = Path(__file__).parents[3] / ".tools" / "extras"
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


def test_while_postgresql_hangs_flags_are_served_and_afterwards_nothing_is_lost(
    make_plane: MakePlane, tmp_path: Path, redis_url: str, postgres_server: PostgresServer
) -> None:
    names = [f"release-{number}" for number in range(8)]
    rollouts = write_rollouts(tmp_path / "rollouts", names, redis_url)
    plane = make_plane("plane", rollouts, postgres_server.url())
    plane.start()
    for name in names:
        plane.begin(name)
    postgres_server.freeze()
    with ThreadPoolExecutor(48) as pool:  # more than it has threads
        sent = [pool.submit(plane.notify, name, guard) for name in names for guard in GUARDS * 3]
        eventually(lambda: plane.connections() >= len(sent), "all notifications wait")
        assert httpx.get(f"{plane.url}/livez").is_success
        assert httpx.get(f"{plane.url}/metrics").is_success
        assert "probed " in httpx.get(f"{plane.url}/readyz").text
        eventually(lambda: httpx.get(f"{plane.url}/readyz").status_code == 503, "it says so")
        assert plane.flag(names[0])
        postgres_server.thaw()
        for one in sent:
            one.result()
    check_ledger(plane, names, [])
    check_stream(plane, redis_url, names)


def test_redis_that_is_killed_in_a_storm_and_comes_back_is_told_of_each_switch_once(
    make_plane: MakePlane, tmp_path: Path, redis_server: RedisServer
) -> None:
    names = [f"release-{number}" for number in range(8)]
    rollouts = write_rollouts(tmp_path / "rollouts", names, redis_server.url)
    plane = make_plane("plane", rollouts, f"sqlite:///{tmp_path / 'ledger.db'}")
    plane.start()
    for name in names:
        plane.begin(name)
    eventually(lambda: all(plane.applied(name) for name in names), "the first stages are told of")
    with ThreadPoolExecutor(4) as pool:
        sent = [pool.submit(plane.notify, name, "Errors") for name in names]
        eventually(lambda: any(one.done() for one in sent), "a first answer")
        redis_server.kill()
        for one in sent:
            one.result()
    assert not any(plane.flag(name) for name in names), "no flag waits for Redis"
    redis_server.start()
    check_ledger(plane, names, [])
    check_stream(plane, redis_server.url, names)


# Disks


def fill(disk: Path) -> Callable[[], object]:
    """Leave no room on a disk; return what makes room again."""
    ballast = disk / "ballast"
    subprocess.run(["dd", "if=/dev/zero", f"of={ballast}", "bs=512"], capture_output=True, check=False)
    return ballast.unlink


def protect(disk: Path) -> Callable[[], object]:
    """Make a disk read-only; return what undoes it."""
    remount = ["mount", "-o", "remount,ro", str(disk)]
    subprocess.run(remount, check=True)
    return lambda: subprocess.run([*remount[:2], "remount,rw", str(disk)], check=True)


@pytest.mark.parametrize("spoil", [fill, protect])
def test_the_flag_flips_though_a_targets_disk_cannot_be_written_and_the_target_follows(
    make_plane: MakePlane, tmp_path: Path, small_disk: Path, spoil: Callable[[Path], Callable[[], object]]
) -> None:
    rollouts = write_rollouts(tmp_path / "rollouts", ["release"], "redis://127.0.0.1:1/0")
    text = (rollouts / "release.yaml").read_text().partition("\ntargets:")[0]
    values = "{fallback: {mode: disabled}, full: {mode: full}}"
    target = f"\ntargets:\n  - yaml-file: {{path: {small_disk}/app.yml, values: {values}}}\n"
    (rollouts / "release.yaml").write_text(text + target)
    config = small_disk / "app.yml"
    config.write_text(f"mode: disabled\n# {'x' * 5000}\n")
    plane = make_plane("plane", rollouts, f"sqlite:///{tmp_path / 'ledger.db'}")
    plane.start()
    plane.begin("release")
    eventually(lambda: config.read_text().startswith("mode: full\n"), "the stage in the file")
    mend = spoil(small_disk)
    plane.notify("release", "Errors")
    assert not plane.flag("release")
    eventually(lambda: plane.get("rollouts/release")["targets"][0]["error"], "the target's error")
    assert config.read_text().startswith("mode: full\n")
    mend()
    eventually(lambda: config.read_text().startswith("mode: disabled\n"), "the fallback in the file")


def test_a_ledger_on_a_read_only_disk_is_refused_in_words(
    make_plane: MakePlane, tmp_path: Path, redis_url: str, small_disk: Path
) -> None:
    rollouts = write_rollouts(tmp_path / "rollouts", ["release"], redis_url)
    plane = make_plane("plane", rollouts, f"sqlite:///{small_disk / 'ledger.db'}")
    plane.start()
    plane.child.stop()
    protect(small_disk)
    with pytest.raises(ProcessError, match=r"ledger\.db cannot be opened: "):
        plane.start()


# The clock


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


# Targets


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


def applied(plane: Plane, rollout: str) -> list[bool]:
    return [target["applied"] for target in plane.get(f"rollouts/{rollout}")["targets"]]


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
        eventually(lambda: applied(plane, "hangs") == [False, False, True], "the file follows")
        plane.child.kill()
    assert config.read_text() == "mode: disabled\n"
