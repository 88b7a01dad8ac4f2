"""`rollguard up`: what it says, and that it leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import ROLLOUT
from tests.polling import eventually


@pytest.fixture
def up(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    (tmp_path / "var").mkdir()
    arguments = ["up", "--rollouts", str(ROLLOUT), "--time-scale", "60", "--free-ports"]
    text = ROLLOUT.read_text().replace(", reference: var/reference.json", "")
    (tmp_path / "rollout.yaml").write_text(text)
    arguments[2] = str(tmp_path / "rollout.yaml")
    process = subprocess.Popen(
        [sys.executable, "-m", "rollguard", *arguments],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    yield process
    process.kill()
    process.communicate()


def children(parent: int) -> list[int]:
    """Return the processes whose parent it is."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if (
                entry.name.isdecimal()
                and int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == parent
            ):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def alive(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until_up(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("next:"):
            return lines
    pytest.fail("it ended before it was up:\n" + "".join(lines))


def test_it_prints_every_address_once_it_is_ready(up: subprocess.Popen[str]) -> None:
    text = "".join(wait_until_up(up))
    for name in ("control plane", "prometheus", "alertmanager", "model-canary"):
        assert f"{name} " in text


def test_it_says_which_target_is_behind(up: subprocess.Popen[str]) -> None:
    wait_until_up(up)
    assert up.stdout is not None
    told = next(line for line in up.stdout if "is behind" in line)
    assert told.startswith("      model-canary: yaml-file:config/app.yml is behind, and tried again: ")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_is_left_behind_after(up: subprocess.Popen[str], number: signal.Signals) -> None:
    wait_until_up(up)
    started = children(up.pid)
    assert len(started) == 5
    up.send_signal(number)
    up.wait(20)
    eventually(lambda: not any(alive(pid) for pid in started), "the end of every child")
    if number is signal.SIGINT:
        assert up.returncode == 0


def test_a_second_one_on_the_same_folder_is_refused_before_it_writes_anything(
    up: subprocess.Popen[str], tmp_path: Path
) -> None:
    wait_until_up(up)
    config = tmp_path / ".rollguard" / "config"
    before = {path: path.read_bytes() for path in config.rglob("*") if path.is_file()}
    assert before
    assert isinstance(up.args, list)
    second = subprocess.run(up.args, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 2
    assert f".rollguard is in use by another `rollguard up`, process {up.pid}.\n" in second.stderr
    assert {path: path.read_bytes() for path in config.rglob("*") if path.is_file()} == before


def test_a_control_plane_that_was_killed_is_started_again_beside_the_others(
    up: subprocess.Popen[str],
) -> None:
    said = "".join(wait_until_up(up))
    before = children(up.pid)
    victim = next(pid for pid in before if b"serve" in command_line(pid))
    os.kill(victim, signal.SIGKILL)
    assert up.stdout is not None
    told = next(line for line in up.stdout if "ended with code" in line)
    assert told.startswith("control plane ended with code -9, and is started again in 1 s")
    found = re.search(r"control plane +(http://\S+)", said)
    assert found is not None
    eventually(lambda: ready(found[1]), "a control plane that is ready again")
    after = children(up.pid)
    assert set(before) - set(after) == {victim}
    assert len(after) == len(before)


def command_line(pid: int) -> list[bytes]:
    return (Path("/proc") / str(pid) / "cmdline").read_bytes().split(b"\0")


def ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=1.0, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def test_a_broken_file_is_told_and_keeps_no_other_rollout_from_starting(tmp_path: Path) -> None:
    rollouts = tmp_path / "rollouts"
    rollouts.mkdir()
    (rollouts / "broken.yaml").write_text("rollout: broken\noops: 1\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:  # so that it ends by itself, once it has begun
        port = taken.getsockname()[1]
        text = ROLLOUT.read_text().replace("127.0.0.1:9841", f"127.0.0.1:{port}")
        (rollouts / "model-canary.yaml").write_text(text)
        ended = subprocess.run(
            [sys.executable, "-m", "rollguard", "up"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert "rollouts/broken.yaml:2: oops is not a known key" in ended.stderr
    assert f"exporter of model-canary cannot listen on 127.0.0.1:{port}" in ended.stderr


def test_a_process_that_cannot_start_ends_the_stack_and_is_named(tmp_path: Path) -> None:
    text = ROLLOUT.read_text()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (tmp_path / "rollout.yaml").write_text(text.replace("127.0.0.1:9841", f"127.0.0.1:{port}"))
        arguments = ["up", "--rollouts", "rollout.yaml"]
        ended = subprocess.run(
            [sys.executable, "-m", "rollguard", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert ended.returncode == 2
    assert f"exporter of model-canary cannot listen on 127.0.0.1:{port}: another process does" in ended.stderr
