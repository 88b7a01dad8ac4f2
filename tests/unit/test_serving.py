"""Listening: quick answers, IPv6, and errors in words."""

from __future__ import annotations

import socket

import pytest

from rollguard.processes import free_port
from rollguard.serving import ListenError, _socket


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
