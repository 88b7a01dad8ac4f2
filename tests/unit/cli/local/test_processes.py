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

from rollguard.cli.local.processes import Child, ProcessError, Supervisor, free_port
from tests.unit.clock import Time

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


def test_a_port_that_another_process_has_is_refused(make: Callable[..., Child]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        child = make(SERVER, taken.getsockname()[1])
        with pytest.raises(ProcessError, match=r"the server cannot listen on 127\.0\.0\.1:\d+: another"):
            child.refuse_taken_port()


def test_a_port_that_nobody_has_is_not_refused(make: Callable[..., Child]) -> None:
    make(SERVER).refuse_taken_port()


class Kept:
    """A child that waits until it is killed, a keeper of it, and a clock."""

    def __init__(self, child: Child) -> None:
        self.child, self.clock, self.told = child, Time(), list[str]()
        self.child.start()
        self.supervisor = Supervisor(child, self.told.append, self.clock)

    def end(self) -> None:
        """Let it end, and be seen."""
        self.child.kill()
        self.supervisor.look()

    def delay(self) -> float:
        """Return after how long it is started again, seconds, having seen that."""
        pid, began = self.child.pid, self.clock.now
        while self.child.pid == pid:
            self.clock.now += 0.5
            self.supervisor.look()
        return self.clock.now - began


@pytest.fixture
def kept(make: Callable[..., Child]) -> Kept:
    return Kept(make("import signal; signal.pause()"))


def test_a_child_that_runs_is_left_alone(kept: Kept) -> None:
    pid = kept.child.pid
    kept.supervisor.look()
    assert (kept.child.pid, kept.told) == (pid, [])


def test_a_child_that_ended_is_started_again_and_both_are_told(kept: Kept) -> None:
    kept.end()
    assert kept.delay() == 1.0
    assert kept.child.ended() is None
    first, second = kept.told
    assert first.startswith("the server ended with code -9, and is started again in 1 s; the end of ")
    assert second == "the server is started again"


def test_the_delay_doubles_up_to_half_a_minute(kept: Kept) -> None:
    found = []
    for _ in range(7):
        kept.end()
        found.append(kept.delay())
    assert found == [1, 2, 4, 8, 16, 30, 30]


def test_the_delay_is_short_again_after_a_minute_of_running(kept: Kept) -> None:
    for _ in range(3):
        kept.end()
        kept.delay()
    kept.clock.now += 60
    kept.end()
    assert kept.delay() == 1.0


def test_a_child_whose_program_is_gone_is_tried_again(kept: Kept) -> None:
    kept.end()
    command, kept.child.command = kept.child.command, ["/no/such/program"]
    kept.clock.now += 1
    kept.supervisor.look()
    assert kept.told[-1].startswith("the server cannot be started: [Errno 2]")
    kept.child.command = command
    kept.supervisor.look()
    assert kept.delay() == 2.0


PARENT = f"""
import sys, time
from pathlib import Path
from rollguard.cli.local.processes import Child
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
