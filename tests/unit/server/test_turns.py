"""Strangers take turns, so that notifications have room; who has a token does not wait."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest

from rollguard.server import turns
from rollguard.server.access import caller
from rollguard.server.turns import PER_TURN, Turns

if TYPE_CHECKING:
    from tests.unit.conftest import App

METRICS = "/metrics"


def run(work: Callable[[Turns], Awaitable[Any]]) -> Any:
    async def started() -> Any:
        return await work(Turns())

    return asyncio.run(asyncio.wait_for(started(), 20))


async def entered(found: Turns, count: int) -> list[asyncio.Task[None]]:
    """Return as many strangers, the first of whom have just been let in."""
    strangers = [asyncio.create_task(found.enter()) for _ in range(count)]
    while not any(stranger.done() for stranger in strangers):
        await asyncio.sleep(0)
    return strangers


def test_few_are_let_in_at_once_and_all_in_the_end() -> None:
    async def work(found: Turns) -> int:
        strangers = await entered(found, 50)
        first = sum(stranger.done() for stranger in strangers)
        await asyncio.gather(*strangers)
        return first

    assert 1 <= run(work) <= PER_TURN


def test_while_a_notification_is_decided_upon_they_come_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "TRICKLE_SECONDS", 0.001)

    async def work(found: Turns) -> tuple[int, int]:
        with found.deciding():
            strangers = await entered(found, 50)
            first = sum(stranger.done() for stranger in strangers)
            await asyncio.gather(*strangers)
            return first, len(strangers)

    assert run(work) == (1, 50)


def test_a_notification_that_hangs_keeps_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(turns, "TRICKLE_SECONDS", 3600.0)

    async def work(found: Turns) -> None:
        with found.deciding():
            await asyncio.gather(*(found.enter() for _ in range(10)))

    run(work)


def test_who_has_gone_takes_nobodys_turn() -> None:
    async def work(found: Turns) -> None:
        strangers = [asyncio.create_task(found.enter()) for _ in range(10)]
        await asyncio.sleep(0)
        for stranger in strangers[:9]:
            stranger.cancel()
        await strangers[9]

    run(work)


# Rates


@pytest.fixture
def pinned(app: App, monkeypatch: pytest.MonkeyPatch) -> App:
    """One application for all calls, whose strangers may come three times, and then wait in vain."""
    monkeypatch.setattr(turns, "CALLS", (1e-9, 3))
    monkeypatch.setattr(turns, "REFUSED_SECONDS", 0.0)
    monkeypatch.setattr(turns, "PATIENCE_SECONDS", 0.0)
    asgi = app.server.app()
    app.server.app = lambda: asgi  # type: ignore[method-assign]
    return app


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/metrics"),
        ("GET", "/readyz"),
        ("GET", "/ofrep/v1/events"),
        ("GET", "/api/v1/openapi.json"),
        ("GET", "/api/v1/rollouts"),
        ("POST", "/alerts"),
        ("POST", "/ofrep/v1/evaluate/flags"),
        ("POST", "/ofrep/v1/evaluate/flags/model-canary"),
    ],
)
def test_a_stranger_who_comes_too_often_is_put_off_on_every_path(pinned: App, method: str, path: str) -> None:
    for _ in range(3):
        pinned.get("/livez", token=None)
    answer = pinned.call(method, path, token=None)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "5")


def test_a_stranger_who_comes_too_often_is_told_that_it_is_alive(pinned: App) -> None:
    assert {pinned.get("/livez", token=None).status_code for _ in range(10)} == {200}


def test_who_presents_a_token_is_not_put_off(pinned: App) -> None:
    assert {pinned.get(METRICS).status_code for _ in range(10)} == {200}
    assert [pinned.get(METRICS, token=None).status_code for _ in range(4)] == [200] * 3 + [429]


def test_all_flags_count_for_more_than_one(
    make_app: Callable[..., App], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollguard.server.app.FLAGS_PER_TURN", 0.5)  # of the one flag that there is
    monkeypatch.setattr(turns, "CALLS", (1e-9, 3))
    monkeypatch.setattr(turns, "REFUSED_SECONDS", 0.0)
    app = make_app()
    asgi = app.server.app()
    app.server.app = lambda: asgi  # type: ignore[method-assign]
    codes = [app.post("/ofrep/v1/evaluate/flags", token=None).status_code for _ in range(2)]
    assert codes == [200, 429]


@pytest.mark.parametrize(
    ("host", "counted"),
    [("192.0.2.7", "192.0.2.7"), ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"), ("testclient", "testclient")],
)
def test_a_host_of_ipv6_has_a_whole_network(host: str, counted: str) -> None:
    assert caller({"type": "http", "client": (host, 1)}) == counted
