"""Who may call what, how often, and the record of every call that was refused."""

from __future__ import annotations

import ipaddress
import json
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rollguard.tokens import Bearer, Role, Tokens

audit = logging.getLogger("rollguard.audit")

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]

AUDITED = ("/alerts", "/api/")

STRANGERS = (2.0, 20)
"""Calls per second without a known token, and at once, for each address."""

CALLS = (100.0, 500)
"""Calls of the API per second, and at once, for each file of tokens. Notifications are never put off."""

LINES = (5.0, 100)
"""Refused calls that are written down, per second and at once; the others are counted."""


class Rates:
    """How often each of many callers may come: a steady rate, and a burst on top.

    Args:
        per_second: the rate.
        burst: how many may come at once after a pause.
        clock: seconds.
        most: how many callers are remembered; the one not seen longest is forgotten.
    """

    def __init__(self, per_second: float, burst: int, clock: Callable[[], float], most: int = 10_000) -> None:
        self._per_second = per_second
        self._burst = burst
        self._clock = clock
        self._most = most
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allows(self, caller: str) -> bool:
        """Return whether a caller may come once more, and count it if so."""
        return self.delay(caller, 0.0) is not None

    def delay(self, caller: str, patience: float, cost: float = 1.0) -> float | None:
        """Return after how many seconds a caller may come once more, and count it; None if that is too long.

        Args:
            caller: any name.
            patience: how long it may wait at most, seconds.
            cost: for how many calls this one counts.
        """
        now = self._clock()
        left, seen = self._left.pop(caller, (float(self._burst), now))
        left = min(float(self._burst), left + (now - seen) * self._per_second)
        after = left - cost
        comes = after >= -patience * self._per_second
        self._left[caller] = (after if comes else left, now)
        if len(self._left) > self._most:
            self._left.popitem(last=False)
        return max(0.0, -after / self._per_second) if comes else None


class Access:
    """Asks every caller for a token.

    Args:
        tokens: that are known.
        clock: monotonic seconds.
    """

    def __init__(self, tokens: Tokens, clock: Callable[[], float]) -> None:
        self._tokens = tokens
        self._strangers = Rates(*STRANGERS, clock)
        self._callers = Rates(*CALLS, clock)

    def guarded(self, role: Role, route: Endpoint) -> Endpoint:
        """Return a route that only holders of a role's token come to, and not too often."""

        async def guarded(request: Request) -> Response:
            self.require(role, request)
            if not self._callers.allows(request.state.token):
                raise HTTPException(429, "too many calls; try again in a second", {"retry-after": "1"})
            return await route(request)

        return guarded

    def bearer(self, scope: Scope) -> Bearer | None:
        """Return whose token a call carries, looked up once; None for a stranger's."""
        state = scope.setdefault("state", {})
        if "bearer" not in state:
            given = Headers(scope=scope).get("authorization", "")
            state["bearer"] = self._tokens.bearer(given) if given else None
        found: Bearer | None = state["bearer"]
        return found

    def require(self, role: Role, request: Request) -> None:
        """Let a caller in who presents a token of a role.

        Raises:
            HTTPException: 401 without a known token, 429 after too many such calls from one address, 403
                with a token of other roles.
        """
        bearer = self.bearer(request.scope)
        if bearer is None:
            if not self._strangers.allows(caller(request.scope)):
                raise HTTPException(429, "too many calls without a token", {"retry-after": "10"})
            raise HTTPException(401, "a bearer token is needed", {"www-authenticate": "Bearer"})
        request.state.token = bearer.file
        if role not in bearer.allows:
            raise HTTPException(403, f"a token with the role {role} is needed")


def caller(scope: Scope) -> str:
    """Return the address that a call is counted for: of IPv6 its network, as a host has a whole one."""
    host = str(scope["client"][0]) if scope.get("client") else ""
    if ":" not in host:
        return host
    try:
        return str(ipaddress.ip_network(f"{host.partition('%')[0]}/64", strict=False))
    except ValueError:
        return host


class Audit:
    """Writes down every call of the webhook and the API that is refused: who, what and why.

    Args:
        app: what it stands in front of.
        refused: is told the status of each.
        clock: monotonic seconds.
    """

    def __init__(self, app: ASGIApp, refused: Callable[[int], None], clock: Callable[[], float]) -> None:
        self._app = app
        self._refused = refused
        self._lines = Rates(*LINES, clock)
        self._unwritten = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a call on, and see what is answered."""
        if scope["type"] != "http" or not scope["path"].startswith(AUDITED):
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})
        status = 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["cache-control"] = "no-store"
            elif status >= 400:
                self._note(scope, status, message.get("body", b""))
                status = 0
            await send(message)

        await self._app(scope, receive, watched)

    def _note(self, scope: Scope, status: int, body: bytes) -> None:
        self._refused(status)
        if not self._lines.allows(""):
            self._unwritten += 1
            return
        client = scope.get("client")
        said = {
            "status": status,
            "method": scope["method"],
            "path": scope["path"][:200],
            "from": client[0] if client else "",
            "token": scope["state"].get("token", ""),
            "answer": body[:300].decode(errors="replace"),
        }
        if self._unwritten:
            said["unwritten_before"] = self._unwritten
            self._unwritten = 0
        audit.warning("refused %s", json.dumps(said))
