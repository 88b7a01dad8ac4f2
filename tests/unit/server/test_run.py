"""Listening: quick answers, IPv6, and errors in words."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from threading import Thread

import pytest
import uvicorn
from starlette.responses import PlainTextResponse

from rollguard.cli.local.processes import free_port
from rollguard.server import http_protocol
from rollguard.server.http_protocol import Room
from rollguard.server.run import ListenError, _socket


def test_answers_do_not_wait_for_an_acknowledgement() -> None:
    with _socket(f"127.0.0.1:{free_port()}") as listening:
        assert listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_connection_takes_that_over() -> None:
    place = f"127.0.0.1:{free_port()}"
    with _socket(place) as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6")
def test_an_address_of_ipv6_stands_in_brackets() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("needs ::1")
    with _socket(f"[::1]:{free_port()}") as listening:
        assert listening.family == socket.AF_INET6


@pytest.mark.parametrize(
    "place", ["", "host", ":x", "127.0.0.1:65536", "127.0.0.1:-1", "[::1", "999.0.0.1:80"]
)
def test_an_address_that_is_none_is_named(place: str) -> None:
    with pytest.raises(ListenError, match="cannot listen on"):
        _socket(place)


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    """Where a server listens that waits a moment for a request's head."""
    monkeypatch.setattr(http_protocol, "HEAD_SECONDS", 0.05)
    config = uvicorn.Config(PlainTextResponse("here"), http=http_protocol.Connection, log_level="error")
    server = uvicorn.Server(config)
    with _socket("127.0.0.1:0") as listening:
        thread = Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield listening.getsockname()
        server.should_exit = True
        thread.join(10)


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nhost: x\r\n"], ids=["nothing", "half a head"])
def test_a_caller_that_does_not_say_what_it_wants_is_cut_off(address: tuple[str, int], said: bytes) -> None:
    with socket.create_connection(address, timeout=30) as connection:
        connection.sendall(said)
        assert connection.recv(1) == b""


def test_a_caller_that_trickles_its_head_is_cut_off(address: tuple[str, int]) -> None:
    with socket.create_connection(address, timeout=0.005) as connection:
        said = b""
        while not said:
            try:
                connection.sendall(b"G")
                said = connection.recv(1) or b"closed"
            except TimeoutError:
                continue
            except OSError:
                said = b"closed"
    assert said == b"closed"


class Silent:
    """A connection that says nothing."""

    def __init__(self, address: str) -> None:
        self.client = (address, 1)
        self.transport = self
        self.aborted = False

    def abort(self) -> None:
        """End at once."""
        self.aborted = True


def held(room: Room, *addresses: str) -> list[Silent]:
    found = [Silent(address) for address in addresses]
    for connection in found:
        room.heard(connection)  # type: ignore[arg-type]
    return found


def test_a_new_stranger_takes_the_place_of_who_was_silent_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "MOST", 3)
    room = Room(lambda _: False)
    first, second, *_ = strangers = held(room, "a", "b", "c")
    room.heard(first)  # type: ignore[arg-type]
    held(room, "d")
    assert [connection.aborted for connection in strangers] == [False, True, False]
    assert second.aborted


def test_an_address_has_so_many_connections_unless_it_is_a_proxys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "MOST_OF_ADDRESS", 2)
    room = Room(lambda _: False, ["10.0.0.0/24"])
    held_by = {address: held(room, *[address] * 3) for address in ("10.0.0.9", "10.0.1.9")}
    aborted = {address: sum(one.aborted for one in listed) for address, listed in held_by.items()}
    assert aborted == {"10.0.0.9": 0, "10.0.1.9": 1}


def test_who_presented_a_token_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "MOST", 1)
    room = Room(lambda _: True)
    (known,) = held(room, "a")
    room.forget(known)  # type: ignore[arg-type]
    held(room, "a", "a")
    assert not known.aborted


def test_a_connection_that_was_used_may_rest(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_protocol, "HEAD_SECONDS", 60.0)  # the first request may be late
    with socket.create_connection(address, timeout=30) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        said = b""
        while not said.endswith(b"here"):
            said += connection.recv(1000)
        monkeypatch.setattr(http_protocol, "HEAD_SECONDS", 0.0)
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(1)
