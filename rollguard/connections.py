"""Connections to the control plane: how long one may take to say what it wants."""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 10.0


class Connection(H11Protocol):
    """An HTTP connection that is closed where a request's head does not come in time.

    Connections are counted, so without this, callers that say nothing would keep Alertmanager out.
    """

    _waiting_since: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Take what came, and go on waiting where it is no whole head."""
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._wait()
        else:
            self._waiting_since = None

    def _wait(self) -> None:
        loop = self.loop
        if self._waiting_since is None:
            self._waiting_since = loop.time()
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = loop.call_at(
            self._waiting_since + HEAD_SECONDS, self.timeout_keep_alive_handler
        )
