"""Who is let in: roles, rates, and the record of who was not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rollguard.server import access, requests
from rollguard.server.access import Rates
from rollguard.server.openapi import VERBS
from rollguard.tokens import ROLES, TokenFile, Tokens

if TYPE_CHECKING:
    from tests.unit.conftest import App

NAME = "model-canary"
ROLLOUTS, START = "/api/v1/rollouts", f"/api/v1/rollouts/{NAME}/start"


@pytest.fixture(autouse=True)
def soon_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "STRANGERS", (1.0, 10))
    monkeypatch.setattr(access, "CALLS", (1.0, 20))
    monkeypatch.setattr(access, "LINES", (1.0, 5))


@pytest.fixture
def app(make_app: Callable[..., App], tmp_path: Path) -> App:
    """Return an application with a token for each role, which begins with its name."""
    for role in ROLES:
        (tmp_path / role).write_text(token(role))
    return make_app(tokens=Tokens([TokenFile(tmp_path / role, role) for role in ROLES]))


def token(role: str) -> str:
    return f"{role}-0123456789abcdef"


def audited(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    lines = [record.getMessage() for record in caplog.records if record.name == "rollguard.audit"]
    return [json.loads(line.removeprefix("refused ")) for line in lines]


@pytest.mark.parametrize(
    ("method", "path", "roles"),
    [
        ("POST", "/alerts", ["alerts"]),
        ("GET", ROLLOUTS, ["operate", "read"]),
        ("GET", f"{ROLLOUTS}/{NAME}", ["operate", "read"]),
        ("GET", "/api/v1/history", ["operate", "read"]),
        ("GET", "/api/v1/verify", ["operate", "read"]),
        *(("POST", f"{ROLLOUTS}/{NAME}/{verb}", ["operate"]) for verb in VERBS),
    ],
)
def test_a_route_is_for_its_roles(app: App, method: str, path: str, roles: Sequence[str]) -> None:
    answers = {role: app.call(method, path, token=token(role)) for role in ROLES}
    assert [role for role, answer in answers.items() if answer.status_code != 403] == roles
    assert app.call(method, path, token=None).status_code == 401


def test_who_is_refused_is_told_which_role_it_takes(app: App) -> None:
    answer = app.post(START, token=token("read"))
    assert answer.json() == {"error": "a token with the role operate is needed"}
    assert app.ledger.entries() == []


def test_who_has_no_token_is_told_how_to_present_one(app: App) -> None:
    assert app.get(ROLLOUTS, token=None).headers["www-authenticate"] == "Bearer"


def test_a_refused_call_is_written_down(app: App, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    app.post(START, token=token("read"))
    (said,) = audited(caplog)
    assert (said["status"], said["method"], said["path"]) == (403, "POST", START)
    assert said["token"] == str(tmp_path / "read")
    assert "role operate" in said["answer"]
    assert app.sample("rollguard_requests_refused_total", code="403") == 1


def test_what_the_state_does_not_allow_is_written_down_too(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    app.post(f"{ROLLOUTS}/{NAME}/promote", token=token("operate"))
    assert [said["status"] for said in audited(caplog)] == [409]


def test_no_token_is_written_down(app: App, caplog: pytest.LogCaptureFixture) -> None:
    app.get(ROLLOUTS, token="a-wrong-token-0123456789")
    app.post(START, token=token("read"))
    assert "0123456789" not in caplog.text


def test_what_a_caller_sends_cannot_fake_a_line(app: App, caplog: pytest.LogCaptureFixture) -> None:
    app.get(f"{ROLLOUTS}/%0Arefused%1b[31m", token=token("read"))
    (record,) = (record for record in caplog.records if record.name == "rollguard.audit")
    assert record.getMessage().isprintable()


def test_what_is_answered_is_not_written_down(app: App, caplog: pytest.LogCaptureFixture) -> None:
    app.get(ROLLOUTS, token=token("read"))
    assert audited(caplog) == []


def test_a_flood_of_refused_calls_fills_no_disk(app: App, caplog: pytest.LogCaptureFixture) -> None:
    asgi = app.server.app()
    app.server.app = lambda: asgi  # type: ignore[method-assign]
    for _ in range(8):
        app.get(ROLLOUTS, token=None)
    assert len(audited(caplog)) == 5
    assert app.sample("rollguard_requests_refused_total", code="401") == 8


def test_callers_without_a_token_are_put_off(app: App) -> None:
    answers = [app.get(ROLLOUTS, token=None) for _ in range(15)]
    assert [answer.status_code for answer in answers] == [401] * 10 + [429] * 5
    assert answers[-1].headers["retry-after"] == "10"
    assert app.get(ROLLOUTS, token=token("read")).status_code == 200


def test_callers_with_a_token_are_put_off_later_each_for_himself(app: App) -> None:
    codes = [app.get(f"{ROLLOUTS}/x", token=token("read")).status_code for _ in range(25)]
    assert (codes.count(404), codes.count(429)) == (20, 5)
    assert app.get(ROLLOUTS, token=token("operate")).status_code == 200


def test_notifications_are_never_put_off(app: App) -> None:
    body = b'{"version": "4", "alerts": []}'
    codes = {app.post("/alerts", content=body, token=token("alerts")).status_code for _ in range(30)}
    assert codes == {200}


async def _never_ending() -> AsyncIterator[bytes]:
    yield b"{"
    await asyncio.sleep(3600)


@pytest.mark.parametrize(("path", "role"), [("/alerts", "alerts"), (START, "operate")])
def test_a_body_that_does_not_come_is_waited_for_no_longer_than_allowed(
    app: App, monkeypatch: pytest.MonkeyPatch, path: str, role: str
) -> None:
    monkeypatch.setattr(requests, "SECONDS", 0.01)
    answer = app.post(path, content=_never_ending(), token=token(role))
    assert (answer.status_code, app.ledger.entries()) == (408, [])


def test_a_failure_that_nobody_foresaw_shows_nothing_of_the_inside(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("a secret of the inside")

    monkeypatch.setattr(app.control, "history", fail)
    answer = app.get("/api/v1/history", token=token("read"))
    assert (answer.status_code, answer.json()) == (500, {"error": "internal error"})


# Rates


def test_a_burst_is_followed_by_a_steady_rate() -> None:
    now = [0.0]
    rates = Rates(per_second=2, burst=3, clock=lambda: now[0])
    assert [rates.allows("a") for _ in range(5)] == [True] * 3 + [False] * 2
    now[0] = 0.5
    assert [rates.allows("a") for _ in range(2)] == [True, False]
    now[0] = 100.0
    assert [rates.allows("a") for _ in range(4)] == [True] * 3 + [False]


def test_who_may_wait_comes_later_at_the_steady_rate() -> None:
    rates = Rates(per_second=2, burst=1, clock=lambda: 0.0)
    assert [rates.delay("a", patience=1.0) for _ in range(5)] == [0.0, 0.5, 1.0, None, None]


def test_callers_are_counted_apart_and_the_oldest_is_forgotten() -> None:
    rates = Rates(per_second=1, burst=1, clock=lambda: 0.0, most=2)
    assert [rates.allows(caller) for caller in "aabbc"] == [True, False, True, False, True]
    assert rates.allows("b") is False
    assert rates.allows("a") is True
