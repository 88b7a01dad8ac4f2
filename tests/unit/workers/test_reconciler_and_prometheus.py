"""The look at Prometheus: what fires by its word or fired of late, silences, and when it does not answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from rollguard.control.decisions import Clock
from rollguard.control.plane import ControlPlane
from rollguard.ledger import Ledger
from rollguard.monitoring.alerts import GuardAlert, Notification
from rollguard.targets.memory import Memory
from rollguard.workers.reconciler import NOTE_SECONDS, Reconciler
from tests.factories import shipped_rollout

NAME = "model-canary"
NOW = 1_700_000_000.0


def text(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()


@dataclass
class World:
    """An Alertmanager and a Prometheus, what they say, and what they were asked; the time."""

    firing: bool = False
    guard: str = "DriftDetected"
    fired_at: list[float] = field(default_factory=list)
    silences: list[dict[str, Any]] = field(default_factory=list)
    dead: set[str] = field(default_factory=set)
    asked: list[httpx.Request] = field(default_factory=list)
    now: float = NOW

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        if request.url.host in self.dead:
            raise httpx.ConnectError("refused")
        answers: dict[str, Any] = {
            "/api/v2/alerts": [],
            "/api/v2/silences": self.silences,
            "/api/v1/rules": {"data": {"groups": [self.group()]}},
            "/api/v1/query": {"data": {"result": self.history()}},
        }
        return httpx.Response(200, json=answers[request.url.path])

    def labels(self) -> dict[str, str]:
        return {"alertname": self.guard, "rollout": NAME, "guard": self.guard}

    def group(self) -> dict[str, Any]:
        alert = {"labels": self.labels(), "state": "firing", "activeAt": text(self.now)}
        rule = {"labels": {"rollout": NAME}, "alerts": [alert] if self.firing else []}
        return {"lastEvaluation": text(self.now), "rules": [rule]}

    def history(self) -> list[dict[str, Any]]:
        if not self.fired_at:
            return []
        return [
            {"metric": {"__name__": "ALERTS", **self.labels()}, "values": [[at, "1"] for at in self.fired_at]}
        ]

    def silence(self, begin: float, end: float) -> None:
        matchers = [{"name": "rollout", "value": NAME, "isRegex": False, "isEqual": True}]
        self.silences.append({"matchers": matchers, "startsAt": text(begin), "endsAt": text(end)})

    def windows(self) -> list[str]:
        queries = [one.url.params.get("query", "") for one in self.asked]
        return [query.partition("[")[2].rstrip("]") for query in queries if query]


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def control(tmp_path: Path, world: World) -> Iterator[ControlPlane]:
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    rollout = shipped_rollout()
    control = ControlPlane([rollout], ledger, clock=Clock(lambda: world.now, lambda: world.now))
    control.start(NAME, actor="ann")
    yield control
    ledger.close()


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    (tmp_path / "memory").mkdir()
    return Memory(tmp_path / "memory", "reconciled")


def reconciler_of(control: ControlPlane, world: World, memory: Memory) -> Reconciler:
    found = Reconciler(control, ["http://alertmanager"], prometheus="http://prometheus", memory=memory)
    found._client.close()
    found._client = httpx.Client(transport=httpx.MockTransport(world))
    return found


@pytest.fixture
def reconciler(control: ControlPlane, world: World, memory: Memory) -> Reconciler:
    return reconciler_of(control, world, memory)


def status(control: ControlPlane) -> str:
    return control.state(NAME).status


def test_what_fires_by_prometheus_word_alone_is_decided(
    reconciler: Reconciler, world: World, control: ControlPlane
) -> None:
    world.firing = True
    reconciler._turn()
    assert control.state(NAME).reason == "DriftDetected"


def test_what_fires_and_is_silenced_is_not(
    reconciler: Reconciler, world: World, control: ControlPlane
) -> None:
    world.firing = True
    world.silence(NOW - 1, NOW + 1)
    reconciler._turn()
    assert status(control) == "ROLLING_OUT"


def test_the_silences_known_last_count_while_alertmanager_is_gone(
    reconciler: Reconciler, world: World, control: ControlPlane
) -> None:
    world.silence(NOW - 1, NOW + 100)
    reconciler._turn()
    world.firing, world.dead = True, {"alertmanager"}
    reconciler._turn()
    assert status(control) == "ROLLING_OUT"


def test_they_count_after_a_restart_too(
    reconciler: Reconciler, world: World, control: ControlPlane, memory: Memory
) -> None:
    world.silence(NOW - 1, NOW + 100)
    reconciler._turn()
    world.firing, world.dead = True, {"alertmanager"}
    reconciler_of(control, world, memory)._turn()
    assert status(control) == "ROLLING_OUT"


def test_what_fired_since_the_stage_began_and_has_resolved_is_decided(
    reconciler: Reconciler, world: World, control: ControlPlane
) -> None:
    world.fired_at = [NOW - 1, NOW + 1]
    reconciler._turn()
    assert control.state(NAME).reason == "DriftDetected"


def test_what_fired_before_the_stage_began_is_not(
    reconciler: Reconciler, world: World, control: ControlPlane
) -> None:
    world.fired_at = [NOW - 1]
    reconciler._turn()
    assert status(control) == "ROLLING_OUT"


def test_what_fired_before_a_hold_ended_holds_nothing_again(
    reconciler: Reconciler, world: World, control: ControlPlane
) -> None:
    world.guard, world.fired_at = "WinRateDropNoData", [NOW + 1]
    reconciler._turn()
    assert control.state(NAME).held == {world.guard}
    world.now = NOW + 3
    control.acknowledge(NAME, actor="ann")
    reconciler._turn()
    assert control.state(NAME).held == frozenset()
    world.fired_at = [NOW + 1, NOW + 4]
    reconciler._turn()
    assert control.state(NAME).held == {world.guard}


def test_the_end_of_one_guards_hold_hides_nothing_of_another(
    reconciler: Reconciler, world: World, control: ControlPlane
) -> None:
    world.guard, world.fired_at = "WinRateDropNoData", [NOW + 1]
    reconciler._turn()
    world.now = NOW + 3
    control.acknowledge(NAME, actor="ann")
    world.guard, world.fired_at = "DriftDetected", [NOW + 2]
    reconciler._turn()
    assert control.state(NAME).reason == "DriftDetected"


@pytest.mark.parametrize(("fired_at", "expected"), [(NOW + 2, "ROLLING_OUT"), (NOW + 4, "ROLLBACK")])
def test_what_fired_in_a_pause_and_has_resolved_is_over(
    reconciler: Reconciler, world: World, control: ControlPlane, fired_at: float, expected: str
) -> None:
    control.pause(NAME, actor="ann")
    world.now, world.fired_at = NOW + 3, [fired_at]
    control.resume(NAME, actor="ann")
    reconciler._turn()
    assert status(control) == expected


@pytest.mark.parametrize(("end", "expected"), [(NOW + 2, "ROLLING_OUT"), (NOW + 1, "ROLLBACK")])
def test_what_fired_while_it_was_silenced_is_not(
    reconciler: Reconciler, world: World, control: ControlPlane, end: float, expected: str
) -> None:
    world.fired_at = [NOW + 1]
    world.silence(NOW - 1, end)
    world.now = NOW + 100
    reconciler._turn()
    assert status(control) == expected


def test_the_history_is_asked_for_since_prometheus_answered_last(
    reconciler: Reconciler, world: World
) -> None:
    reconciler.look()
    world.now += 10
    reconciler.look()
    world.dead = {"prometheus"}
    world.now += 100
    reconciler.look()
    world.dead = set()
    world.now += 100
    reconciler.look()
    assert world.windows() == ["5000ms", "15000ms", "205000ms"]


def test_after_a_restart_it_is_asked_for_since_the_last_note(
    reconciler: Reconciler, world: World, control: ControlPlane, memory: Memory
) -> None:
    reconciler.look()
    world.now += NOTE_SECONDS - 1
    reconciler.look()
    world.now += 600
    reconciler_of(control, world, memory).look()
    assert world.windows()[-1] == "614000ms"


def test_a_clock_that_was_set_back_asks_for_the_overlap(reconciler: Reconciler, world: World) -> None:
    reconciler.look()
    world.now -= 3600
    reconciler.look()
    assert world.windows()[-1] == "5000ms"


def test_a_note_that_cannot_be_read_is_none(control: ControlPlane, world: World, memory: Memory) -> None:
    memory.keep({"known_until": "yesterday", "silences": 7})
    reconciler_of(control, world, memory).look()
    assert world.windows() == ["5000ms"]


def test_who_asks_prometheus_in_vain_for_long_is_blind(
    reconciler: Reconciler, world: World, control: ControlPlane
) -> None:
    world.dead = {"prometheus"}
    world.now += 121
    for _ in range(3):
        reconciler._turn()
    assert control.state(NAME).held == {"blind"}


def test_a_watchdog_keeps_from_blindness(reconciler: Reconciler, world: World, control: ControlPlane) -> None:
    world.dead = {"prometheus"}
    world.now += 121
    watchdog = GuardAlert("", "Watchdog", True, NOW, "w", {}, {})
    control.notify(Notification((watchdog,)), world.now)
    for _ in range(3):
        reconciler._turn()
    assert control.state(NAME).held == frozenset()


def test_without_alertmanager_nobody_is_blind_who_sees_rules_evaluated(
    reconciler: Reconciler, world: World, control: ControlPlane
) -> None:
    world.dead = {"alertmanager"}
    for _ in range(10):
        world.now += 60
        reconciler._turn()
    assert control.state(NAME).held == frozenset()
