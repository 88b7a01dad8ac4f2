"""What follows a change: the restart once, made up for after a crash, and the checks that tell the truth."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from rollguard.state import State
from rollguard.targets import TargetError
from rollguard.targets.follow_up import FollowedTarget
from tests.contract.target_cases import BACK, CANARY, FULL, OFF, SHADOW, built, rollout_with

LINE = "SetupEngine scanner disabled via SETUP_ENGINE_ENABLED=false"
RESTART = [
    "sh",
    "-c",
    '. ./.env; echo $ON >> runs; [ $ON = true ] || echo "INFO $LINE" | tee -a a.log >> b.log',
]
VALUES = {"fallback": {"ON": False}, **{name: {"ON": True} for name in ("shadow", "canary", "full")}}


@dataclass
class Scene:
    """A file of variables, whose reader logs when it starts; and time at hand."""

    root: Path
    now: float = 1000.0

    def target(self, restart: list[str] = RESTART, **verify: Any) -> FollowedTarget:
        spec: dict[str, Any] = {"env-file": {"path": ".env", "values": VALUES}, "then": {"restart": restart}}
        found = built(rollout_with(spec | ({"verify": verify} if verify else {})), self.root)
        assert isinstance(found, FollowedTarget)
        return replace(found, clock=lambda: self.now)

    def logged(self, **options: Any) -> FollowedTarget:
        log = {"files": ["a.log", "b.log"], "line": LINE, "states": ["fallback"], "settle": "10s", **options}
        return self.target(log=log)

    def runs(self) -> list[str]:
        return (self.root / "runs").read_text().split() if (self.root / "runs").exists() else []


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setenv("LINE", LINE)
    (tmp_path / ".env").write_text("ON=false\n")
    return Scene(tmp_path)


def test_a_change_restarts_once(scene: Scene) -> None:
    target = scene.target()
    target.apply(SHADOW)
    target.apply(SHADOW)
    assert target.read_back(SHADOW)
    assert scene.runs() == ["true"]


def test_a_state_that_means_the_same_restarts_nothing(scene: Scene) -> None:
    target = scene.target()
    for state in (SHADOW, CANARY, FULL):
        target.apply(state)
        assert target.read_back(state)
    assert scene.runs() == ["true"]


def test_what_is_in_place_at_the_start_restarts_nothing(scene: Scene) -> None:
    scene.target().apply(OFF)
    assert scene.target().read_back(OFF)
    assert not scene.runs()


def test_a_restart_that_fails_is_tried_again_until_it_does_not(scene: Scene) -> None:
    broken = scene.target(["false"])
    with pytest.raises(TargetError, match="false ended with 1"):
        broken.apply(SHADOW)
    assert not broken.read_back(SHADOW)
    scene.target().apply(SHADOW)
    assert scene.target().read_back(SHADOW)
    assert scene.runs() == ["true"]


def test_a_restart_that_a_crash_cut_off_is_made_up_for(scene: Scene) -> None:
    target = scene.target()
    target.memory.keep({"due": True})
    target.target.apply(SHADOW)
    assert not target.read_back(SHADOW)
    scene.target().apply(SHADOW)
    assert scene.runs() == ["true"]


def test_a_file_put_right_after_a_change_from_outside_restarts_again(scene: Scene) -> None:
    scene.target().apply(SHADOW)
    (scene.root / ".env").write_text("ON=false\n")
    scene.target().apply(SHADOW)
    assert scene.runs() == ["true", "true"]


def test_the_line_must_be_in_every_log_since_the_restart(scene: Scene) -> None:
    for name in ("a.log", "b.log"):
        (scene.root / name).write_text(LINE + "\n")
    target = scene.logged()
    target.apply(SHADOW)
    target.apply(BACK)
    assert target.read_back(BACK)
    assert (scene.root / "a.log").read_text().count(LINE) == 2


def test_a_line_of_an_earlier_start_does_not_count(scene: Scene) -> None:
    (scene.root / ".env").write_text("ON=true\n")
    (scene.root / "a.log").write_text(LINE + "\n")
    (scene.root / "b.log").write_text(LINE + "\n")
    log = {"files": ["a.log", "b.log"], "line": LINE, "states": ["fallback"]}
    target = scene.target(["true"], log=log)
    target.apply(BACK)
    with pytest.raises(TargetError, match=r"a\.log does not show 'SetupEngine .*' since the restart"):
        target.read_back(BACK)


def test_one_process_that_is_silent_is_named(scene: Scene) -> None:
    (scene.root / ".env").write_text("ON=true\n")
    target = scene.logged(files=["a.log", "c.log"])
    target.apply(BACK)
    with pytest.raises(TargetError, match=r"c\.log does not show"):
        target.read_back(BACK)


def test_a_line_that_should_be_absent_is_an_error(scene: Scene) -> None:
    log = {"files": ["a.log"], "line": LINE, "states": ["fallback"]}
    target = scene.target(["sh", "-c", "echo $LINE >> a.log"], log=log)
    target.apply(SHADOW)
    with pytest.raises(TargetError, match=r"a\.log shows 'SetupEngine"):
        target.read_back(SHADOW)


def test_absence_counts_only_after_a_while(scene: Scene) -> None:
    target = scene.logged()
    target.apply(SHADOW)
    with pytest.raises(TargetError, match="is watched for another 10s"):
        target.read_back(SHADOW)
    scene.now += 10
    assert target.read_back(SHADOW)


def test_a_log_that_was_rotated_since_is_read_from_its_beginning(scene: Scene) -> None:
    (scene.root / ".env").write_text("ON=true\n")
    (scene.root / "a.log").write_text("x" * 1000)
    target = scene.logged(files=["a.log"])
    target.apply(BACK)
    (scene.root / "a.log").unlink()
    (scene.root / "a.log").write_text(LINE)
    assert target.read_back(BACK)


def test_what_was_seen_once_stays_seen_when_logs_are_rotated_away(scene: Scene) -> None:
    (scene.root / ".env").write_text("ON=true\n")
    target = scene.logged()
    target.apply(BACK)
    assert target.read_back(BACK)
    (scene.root / "a.log").unlink()
    assert target.read_back(replace(BACK, seq=9))


def test_a_check_that_fails_restarts_nothing(scene: Scene) -> None:
    target = scene.target(command={"run": {"shadow": ["sh", "-c", "echo half of it; exit 1"]}})
    target.apply(SHADOW)
    with pytest.raises(TargetError, match="ended with 1: half of it"):
        target.read_back(SHADOW)
    assert scene.runs() == ["true"]


def test_a_check_by_command_is_of_its_states_only(scene: Scene) -> None:
    target = scene.target(command={"run": {"shadow": ["false"]}})
    target.apply(CANARY)
    assert target.read_back(CANARY)


@pytest.fixture
def url(scene: Scene) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            shown = {"settings": [{"on": (scene.root / ".env").read_text() == "ON=true\n"}]}
            body = json.dumps(shown).encode()
            self.send_response(200 if self.path == "/" else 503)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def http(scene: Scene, url: str, **expected: Any) -> FollowedTarget:
    return scene.target(http={"url": url, "expect": {"shadow": expected}})


@pytest.mark.parametrize("state", [SHADOW, BACK])
def test_a_check_by_http_holds_the_answer_against_what_is_expected(
    scene: Scene, url: str, state: State
) -> None:
    target = http(scene, url, **{"settings.0.on": True})
    target.apply(state)
    assert target.read_back(state)


def test_another_answer_is_an_error_that_says_what_was_found(scene: Scene, url: str) -> None:
    target = http(scene, url, **{"settings.0.on": 1})
    target.apply(SHADOW)
    with pytest.raises(TargetError, match=r"settings\.0\.on is true, expected 1"):
        target.read_back(SHADOW)


def test_an_answer_that_is_none_is_an_error(scene: Scene, url: str) -> None:
    target = http(scene, f"{url}down", **{"settings.0.on": True})
    target.apply(SHADOW)
    with pytest.raises(TargetError, match="answers 503 to GET"):
        target.read_back(SHADOW)
