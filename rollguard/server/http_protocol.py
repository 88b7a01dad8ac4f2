"""Connections to the control plane: how many strangers may hold, and how long a request's head may take."""

from __future__ import annotations

import asyncio
import ipaddress
import resource
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 10.0

MOST = 1000
"""Connections of callers without a token; half of the open files allowed, where that is less."""

MOST_OF_ADDRESS = 500
"""Those of one address, unless that is a proxy."""


class Room:
    """The open connections of callers without a token: a new one takes the place of who was silent longest.

    So there is always room for one more, and whoever presents a token keeps it.

    Args:
        knows: whether a value of the header `authorization` carries a token.
        proxies: networks whose addresses stand for many callers.
    """

    def __init__(self, knows: Callable[[str], bool], proxies: Sequence[str] = ()) -> None:
        self.knows = knows
        self._most = min(MOST, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
        self._proxies = [ipaddress.ip_network(proxy, strict=False) for proxy in proxies]
        self._all: OrderedDict[Connection, str] = OrderedDict()
        self._of: dict[str, OrderedDict[Connection, None]] = {}

    def heard(self, connection: Connection) -> None:
        """Note that a stranger has just connected, or said something; too many make one go."""
        address = connection.client[0] if connection.client else ""
        mine = self._of.setdefault(address, OrderedDict())
        for listed in (self._all, mine):
            listed.pop(connection, None)
        self._all[connection], mine[connection] = address, None
        if len(mine) > MOST_OF_ADDRESS and not self._is_proxy(address):
            self._end(next(iter(mine)))
        if len(self._all) > self._most:
            self._end(next(iter(self._all)))

    def forget(self, connection: Connection) -> None:
        """Count a connection no more: it has ended, or is no stranger's."""
        address = self._all.pop(connection, None)
        if address is not None:
            mine = self._of[address]
            mine.pop(connection, None)
            if not mine:
                del self._of[address]

    def _end(self, connection: Connection) -> None:
        self.forget(connection)
        connection.transport.abort()

    def _is_proxy(self, address: str) -> bool:
        try:
            found = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        return any(found in proxy for proxy in self._proxies)


class Connection(H11Protocol):
    """An HTTP connection that is closed where a request's head does not come in time.

    Args:
        room: for callers without a token; None: there is no end of it.
        options: uvicorn's.
    """

    _waiting_since: float | None = None
    _known = False

    def __init__(self, *, room: Room | None = None, **options: Any) -> None:
        super().__init__(**options)
        self._room = room

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        if self._room:
            self._room.heard(self)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Take what came, and go on waiting where it is no whole head."""
        super().data_received(data)
        if self._room and not self._known:
            self._introduce(self._room)
        if self.conn.their_state is h11.IDLE:
            self._wait()
        else:
            self._waiting_since = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Make room for another."""
        if self._room:
            self._room.forget(self)
        super().connection_lost(exc)

    def _introduce(self, room: Room) -> None:
        """Look whether the last request carries a token."""
        given = dict(self.headers or ()).get(b"authorization", b"").decode("latin-1")
        self._known = bool(given) and room.knows(given)
        if self._known:
            room.forget(self)
        elif not self.transport.is_closing():
            room.heard(self)

    def _wait(self) -> None:
        loop = self.loop
        if self._waiting_since is None:
            self._waiting_since = loop.time()
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = loop.call_at(
            self._waiting_since + HEAD_SECONDS, self.timeout_keep_alive_handler
        )
