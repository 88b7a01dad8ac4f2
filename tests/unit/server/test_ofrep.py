"""OFREP: one flag, all of them with an entity tag, and streams that tell when to ask again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from rollguard.server.ofrep import Streams
from rollguard.spec.rollout import Rollout

if TYPE_CHECKING:
    from tests.unit.conftest import App

NAME = "model-canary"
ALL = "/ofrep/v1/evaluate/flags"
REFETCH = b'data: {"type": "refetchEvaluation"}\n\n'


def ask(app: App, etag: str | None = None, **context: Any) -> httpx.Response:
    headers = {"if-none-match": etag} if etag else {}
    return app.post(ALL, token=None, json={"context": context}, headers=headers)


def full(app: App) -> None:
    app.control.start(NAME, actor="ann")
    while app.control.state(NAME).stage != "full":
        app.control.promote(NAME, actor="ann", early=True)


# Bulk


def test_all_flags_are_evaluated_for_one_context(app: App) -> None:
    answer = ask(app, targetingKey="ann").json()
    (found,) = answer["flags"]
    assert (found["key"], found["value"], found["variant"]) == (NAME, False, "active")
    assert found["reason"] == "STATIC"
    assert found["metadata"]["rollout"] == NAME


def test_the_answer_says_where_changes_are_told(app: App) -> None:
    (stream,) = ask(app).json()["eventStreams"]
    assert stream == {
        "type": "sse",
        "endpoint": {"requestUri": "/ofrep/v1/events"},
        "inactivityDelaySec": 120,
    }


def test_what_has_not_changed_is_not_sent_again(app: App) -> None:
    etag = ask(app, targetingKey="ann").headers["etag"]
    again = ask(app, etag, targetingKey="ann")
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)


@pytest.mark.parametrize("sent", ['W/{}, "x"', '"x", {}'])
def test_one_of_several_tags_is_enough(app: App, sent: str) -> None:
    assert ask(app, sent.format(ask(app).headers["etag"])).status_code == 304


def test_a_flip_changes_the_tag(app: App) -> None:
    etag = ask(app, targetingKey="ann").headers["etag"]
    full(app)
    answer = ask(app, etag, targetingKey="ann")
    assert (answer.status_code, answer.json()["flags"][0]["value"]) == (200, True)


def test_another_user_with_another_variant_has_another_tag(app: App) -> None:
    app.control.start(NAME, actor="ann")
    app.control.promote(NAME, actor="ann", early=True)
    by_value = {
        ask(app, targetingKey=f"user-{number}").json()["flags"][0]["value"]: ask(
            app, targetingKey=f"user-{number}"
        ).headers["etag"]
        for number in range(60)
    }
    assert len(set(by_value.values())) == 2


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "PARSE_ERROR"),
        (b"[]", "PARSE_ERROR"),
        (b"[" * 60_000, "PARSE_ERROR"),
        (b'{"context": "x' + b"y" * 66_000 + b'"}', "PARSE_ERROR"),
        (b'{"context": 5}', "INVALID_CONTEXT"),
        (b'{"context": {"targetingKey": 5}}', "INVALID_CONTEXT"),
    ],
    ids=["half", "list", "deep", "large", "no object", "no key"],
)
@pytest.mark.parametrize("path", [ALL, f"{ALL}/{NAME}"])
def test_a_bad_request_has_a_code_and_details(app: App, path: str, body: bytes, code: str) -> None:
    answer = app.post(path, token=None, content=body)
    assert (answer.status_code, answer.json()["errorCode"]) == (400, code)
    assert answer.json()["errorDetails"]


# Other origins


def test_without_an_allowed_origin_no_page_of_another_may_read(app: App) -> None:
    answer = app.post(ALL, token=None, json={}, headers={"origin": "https://app.example"})
    assert "access-control-allow-origin" not in answer.headers


@pytest.fixture
def open_app(make_app: Callable[..., App]) -> App:
    return make_app(origins=["https://app.example"])


def test_an_allowed_page_may_read_flags_and_their_tag(open_app: App) -> None:
    answer = open_app.post(ALL, token=None, json={}, headers={"origin": "https://app.example"})
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert "etag" in answer.headers["access-control-expose-headers"].lower()


def test_an_allowed_page_may_ask_with_a_tag(open_app: App) -> None:
    wanted = {"access-control-request-method": "POST", "origin": "https://app.example"}
    wanted["access-control-request-headers"] = "content-type,if-none-match"
    answer = open_app.call("OPTIONS", ALL, token=None, headers=wanted)
    assert answer.status_code == 200
    assert "if-none-match" in answer.headers["access-control-allow-headers"].lower()


def test_another_page_may_not(open_app: App) -> None:
    answer = open_app.post(ALL, token=None, json={}, headers={"origin": "https://evil.example"})
    assert "access-control-allow-origin" not in answer.headers


def test_no_page_may_read_anything_but_flags(open_app: App) -> None:
    answer = open_app.get("/api/v1/rollouts", headers={"origin": "https://app.example"})
    assert "access-control-allow-origin" not in answer.headers


# Streams


def run(work: Callable[[Streams], Awaitable[Any]], *boundaries: int, now: float = 1000.0) -> Any:
    """Run something with streams over a clock that runs from `now`."""

    async def started() -> Any:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        return await work(Streams(boundaries, lambda: now + loop.time() - begun))

    return asyncio.run(asyncio.wait_for(started(), 20))


def test_a_client_is_told_to_ask_when_it_connects() -> None:
    async def first(streams: Streams) -> bytes:
        return await anext(streams.events())

    assert run(first) == b"retry: 1000\n" + REFETCH


def test_every_client_is_told_of_a_change_from_another_thread() -> None:
    async def told(streams: Streams) -> list[bytes]:
        clients = [streams.events() for _ in range(3)]
        for client in clients:
            await anext(client)
        waiting = [asyncio.ensure_future(anext(client)) for client in clients]
        await asyncio.to_thread(streams.publish)
        return await asyncio.gather(*waiting)

    assert run(told) == [REFETCH] * 3


def test_a_change_while_a_client_is_written_to_is_told_next() -> None:
    async def told(streams: Streams) -> bytes:
        client = streams.events()
        await anext(client)
        streams.publish()
        await asyncio.sleep(0)
        return await anext(client)

    assert run(told) == REFETCH


def test_clients_are_told_at_the_boundary_of_a_schedule() -> None:
    async def told(streams: Streams) -> bytes:
        client = streams.events()
        await anext(client)
        return await anext(client)

    assert run(told, 1001, 500, now=1000.9) == REFETCH


def test_a_client_to_whom_nothing_happens_hears_that_the_server_is_alive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rollguard.server.ofrep.KEEPALIVE_SECONDS", 0.05)

    async def told(streams: Streams) -> bytes:
        client = streams.events()
        await anext(client)
        return await anext(client)

    assert run(told, 500) == b": alive\n\n"


def test_a_server_that_stops_ends_its_streams() -> None:
    async def told(streams: Streams) -> tuple[list[bytes], int]:
        client = streams.events()
        await anext(client)
        streams.close()
        return [event async for event in client], streams.count

    assert run(told) == ([], 0)


def test_a_client_that_goes_is_forgotten() -> None:
    async def told(streams: Streams) -> tuple[int, int]:
        client: Any = streams.events()
        await anext(client)
        before = streams.count
        await client.aclose()
        return before, streams.count

    assert run(told) == (1, 0)


def test_streams_beyond_the_limit_are_asked_to_come_again(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rollguard.server.ofrep.MAX_STREAMS", 0)
    answer = app.get("/ofrep/v1/events", token=None)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "30")


def test_an_address_has_so_many_streams(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rollguard.server.ofrep.MAX_STREAMS_OF_ADDRESS", 0)
    answer = app.get("/ofrep/v1/events", token=None)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "30")


def test_boundaries_are_those_of_the_rollouts_schedules(
    make_app: Callable[..., App], rollout: Rollout
) -> None:
    schedule = {"enable_at": "2026-01-05T09:00:00+01:00", "disable_at": "2026-01-06T00:00:00Z"}
    flag = rollout.flag.model_validate({**rollout.flag.model_dump(), "schedule": schedule})
    app = make_app(rollout.model_copy(update={"flag": flag}))
    assert app.server.streams._boundaries == [1767600000, 1767657600]
