"""Child processes: waited for, named when they fail, and never left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rollguard.processes import Child, ProcessError, free_port

SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass
print("started", flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Child]]:
    """Return a function that makes a child of a Python script."""
    made: list[Child] = []

    def child(script: str, port: int | None = None) -> Child:
        port = port or free_port()
        command = [sys.executable, "-c", script, str(port)]
        made.append(Child("the server", command, tmp_path / "logs" / "a.log", f"http://127.0.0.1:{port}/"))
        return made[-1]

    yield child
    for one in made:
        one.kill()


def test_a_child_is_ready_when_it_answers(make: Callable[..., Child]) -> None:
    child = make(SERVER)
    child.start()
    child.wait_until_ready(20)
    assert child.ended() is None
    assert child.tail() == "started"


def test_a_child_is_asked_directly_whatever_proxy_the_environment_names(
    make: Callable[..., Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    child = make(SERVER)
    child.start()
    child.wait_until_ready(20)


def test_a_child_that_ends_is_named_with_the_end_of_its_log(make: Callable[..., Child]) -> None:
    child = make("print('no such file'); raise SystemExit(3)")
    child.start()
    with pytest.raises(ProcessError, match="the server ended with code 3:\nno such file"):
        child.wait_until_ready(20)


def test_a_child_that_is_late_is_named(make: Callable[..., Child]) -> None:
    child = make("import signal; signal.pause()")
    child.start()
    with pytest.raises(ProcessError, match=r"the server was not ready within 0\.3 s"):
        child.wait_until_ready(0.3)


def test_a_child_ends_when_it_is_asked_to(make: Callable[..., Child]) -> None:
    child = make(SERVER)
    child.start()
    child.wait_until_ready(20)
    child.stop()
    assert child.ended() == -signal.SIGTERM


def test_a_child_that_does_not_listen_is_made_to_end(make: Callable[..., Child]) -> None:
    child = make("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)" + SERVER)
    child.start()
    child.wait_until_ready(20)
    child.stop(seconds=0.1)
    assert child.ended() == -signal.SIGKILL


def test_what_was_never_started_can_be_stopped(make: Callable[..., Child]) -> None:
    child = make(SERVER)
    child.stop()
    child.kill()
    assert (child.pid, child.ended(), child.tail()) == (0, None, "")


def test_a_child_can_be_started_again(make: Callable[..., Child]) -> None:
    child = make(SERVER)
    for _ in range(2):
        child.start()
        child.wait_until_ready(20)
        child.kill()
    assert child.ended() == -signal.SIGKILL


PARENT = f"""
import sys, time
from pathlib import Path
from rollguard.processes import Child
port, log = sys.argv[1:]
command = [sys.executable, "-c", {SERVER!r}, port]
child = Child("child", command, Path(log), "http://127.0.0.1:" + port)
child.start()
child.wait_until_ready(20)
print(child.pid, flush=True)
time.sleep(600)
"""


def test_a_child_does_not_outlive_a_parent_that_was_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(free_port()), str(tmp_path / "a.log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        watched = os.pidfd_open(int(parent.stdout.readline()))
        parent.kill()
    assert ended(watched)


def ended(watched: int, seconds: float = 10.0) -> bool:
    """Return whether a process ends in time."""
    import select

    poll = select.poll()
    poll.register(watched, select.POLLIN)
    found = bool(poll.poll(seconds * 1000))
    os.close(watched)
    return found


def test_a_free_port_can_be_listened_on() -> None:
    with socket.create_server(("127.0.0.1", free_port())) as listening:
        assert listening.getsockname()[1] > 0
