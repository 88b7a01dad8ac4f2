"""Reconciling: what was never notified is found by asking, and asking never ends by itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from rollguard.cli.local.processes import free_port
from rollguard.control.decisions import Clock
from rollguard.control.plane import ControlPlane
from rollguard.ledger import Ledger
from rollguard.workers.reconciler import Reconciler
from tests.factories import shipped_rollout

NAME = "model-canary"
NOW = 1_700_000_000.0
LISTED = {
    "labels": {"rollout": NAME, "guard": "DriftDetected", "alertname": "DriftDetected"},
    "annotations": {},
    "startsAt": "2023-11-14T22:13:20Z",
    "fingerprint": "f",
    "status": {"state": "active", "silencedBy": [], "inhibitedBy": []},
}

Answer = Callable[[httpx.Request], httpx.Response]


class Alertmanager:
    """Answers what it is told to, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[httpx.Request] = []
        self.answer: Answer = lambda _: httpx.Response(200, json=[LISTED])

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        return self.answer(request)


@pytest.fixture
def alertmanager() -> Alertmanager:
    return Alertmanager()


@pytest.fixture
def control(tmp_path: Path) -> Iterator[ControlPlane]:
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    rollout = shipped_rollout()
    control = ControlPlane([rollout], ledger, clock=Clock(lambda: NOW, lambda: NOW))
    control.start(NAME, actor="ann")
    yield control
    ledger.close()


@pytest.fixture
def reconciler(control: ControlPlane, alertmanager: Alertmanager) -> Iterator[Reconciler]:
    found = Reconciler(control, ["http://alertmanager:9093/"], every=600.0)
    found._client.close()
    found._client = httpx.Client(transport=httpx.MockTransport(alertmanager))
    yield found
    found._client.close()


def test_a_listed_alert_that_was_never_notified_is_decided(
    reconciler: Reconciler, control: ControlPlane
) -> None:
    assert reconciler.poll()
    assert control.state(NAME).reason == "DriftDetected"


def test_inhibited_and_silenced_alerts_are_asked_for(
    reconciler: Reconciler, alertmanager: Alertmanager
) -> None:
    reconciler.poll()
    (request,) = alertmanager.asked
    assert request.url.path == "/api/v2/alerts"
    assert dict(request.url.params) == {
        "active": "true",
        "inhibited": "true",
        "silenced": "true",
        "unprocessed": "true",
        "filter": 'rollout=~".+"',
    }


def test_a_proxy_of_the_environment_is_not_asked(
    control: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Empty(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"[]")

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with HTTPServer(("127.0.0.1", 0), Empty) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        reconciler = Reconciler(control, [f"http://127.0.0.1:{server.server_port}"])
        assert reconciler.poll()


def broken(_: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused")


@pytest.mark.parametrize(
    "answer",
    [
        broken,
        lambda _: httpx.Response(500, json=[LISTED]),
        lambda _: httpx.Response(302, headers={"location": "http://elsewhere"}),
        lambda _: httpx.Response(200, text="<html>"),
        lambda _: httpx.Response(200, json={"alerts": [LISTED]}),
    ],
    ids=["no connection", "status 500", "redirect", "not JSON", "another shape"],
)
def test_an_answer_that_is_none_changes_nothing(
    reconciler: Reconciler, alertmanager: Alertmanager, control: ControlPlane, answer: Answer
) -> None:
    control.polled([], NOW)
    alertmanager.answer = answer
    assert not reconciler.poll()
    assert control.state(NAME).status == "ROLLING_OUT"


def test_the_alerts_known_last_still_fire_while_nobody_answers(
    reconciler: Reconciler, alertmanager: Alertmanager, control: ControlPlane
) -> None:
    reconciler.poll()
    alertmanager.answer = broken
    reconciler.poll()
    assert [alert.guard for alert in control.firing(NAME)] == ["DriftDetected"]


def test_an_alert_that_is_no_longer_listed_no_longer_fires(
    reconciler: Reconciler, alertmanager: Alertmanager, control: ControlPlane
) -> None:
    reconciler.poll()
    alertmanager.answer = lambda _: httpx.Response(200, json=[])
    reconciler.poll()
    assert control.firing(NAME) == []


def test_a_failure_is_logged_once_and_so_is_its_end(
    reconciler: Reconciler, alertmanager: Alertmanager, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "rollguard.workers.reconciler")
    for answer in (
        broken,
        broken,
        lambda _: httpx.Response(200, json=[]),
        lambda _: httpx.Response(200, json=[]),
    ):
        alertmanager.answer = answer
        reconciler.poll()
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


# Several Alertmanagers


@pytest.fixture
def pair(control: ControlPlane, alertmanager: Alertmanager) -> Iterator[Reconciler]:
    """A reconciler with two Alertmanagers, each by its name."""
    found = Reconciler(control, ["http://first", "http://second"], every=600.0)
    found._client.close()
    found._client = httpx.Client(transport=httpx.MockTransport(alertmanager))
    yield found
    found._client.close()


def by_host(first: Answer, second: Answer) -> Answer:
    return lambda request: (first if request.url.host == "first" else second)(request)


def nothing(_: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json=[])


def lists(_: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json=[LISTED])


@pytest.mark.parametrize("first", [broken, nothing, lists], ids=["is down", "lists nothing", "lists it, too"])
def test_what_one_of_two_lists_is_decided(
    pair: Reconciler, alertmanager: Alertmanager, control: ControlPlane, first: Answer
) -> None:
    alertmanager.answer = by_host(first, lists)
    assert pair.poll()
    assert [entry.kind for entry in control.ledger.entries()] == ["start", "rollback"]


def test_what_the_one_that_answers_does_not_list_no_longer_fires(
    pair: Reconciler, alertmanager: Alertmanager, control: ControlPlane
) -> None:
    alertmanager.answer = by_host(lists, nothing)
    pair.poll()
    alertmanager.answer = by_host(broken, nothing)
    pair.poll()
    assert control.firing(NAME) == []


def test_where_neither_answers_what_was_known_last_still_fires(
    pair: Reconciler, alertmanager: Alertmanager, control: ControlPlane
) -> None:
    alertmanager.answer = by_host(lists, nothing)
    pair.poll()
    alertmanager.answer = broken
    assert not pair.poll()
    assert [alert.guard for alert in control.firing(NAME)] == ["DriftDetected"]


def test_the_one_that_is_down_is_named(
    pair: Reconciler, alertmanager: Alertmanager, caplog: pytest.LogCaptureFixture
) -> None:
    alertmanager.answer = by_host(broken, nothing)
    pair.poll()
    assert caplog.messages == [
        "reconciling with http://first/api/v2/alerts fails, and goes on: refused",
    ]


def polls(reconciler: Reconciler, wanted: int) -> Iterator[list[bool]]:
    """Run the reconciler until it has polled so often; each poll but the first is asked for."""
    told: list[bool] = []
    enough = threading.Semaphore(0)

    def note(succeeded: bool) -> None:
        told.append(succeeded)
        enough.release()

    reconciler._on_poll = note
    reconciler.start()
    for _ in range(wanted):
        assert enough.acquire(timeout=10)
        reconciler.wake()
    reconciler.stop()
    yield told


def test_a_wake_does_not_wait_for_the_next_turn(reconciler: Reconciler) -> None:
    (told,) = polls(reconciler, 3)
    assert told[:3] == [True, True, True]


def test_what_nobody_foresaw_does_not_end_the_polls(
    reconciler: Reconciler, control: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError("a bug")

    monkeypatch.setattr(control, "polled", fail)
    (told,) = polls(reconciler, 2)
    assert told[:2] == [False, False]


def test_a_stop_does_not_wait_for_the_next_turn(reconciler: Reconciler) -> None:
    reconciler.start()
    reconciler.stop()
    assert not reconciler._turns._thread.is_alive()
