"""Room for notifications: strangers take turns, each address at a rate, all of them a few at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from rollguard.server.access import Access, Rates, caller

CALLS = (200.0, 200)
"""Calls without a token per second, and at once, for each address; what is over waits."""

MOST_COST = 100.0
"""For how many more calls one counts at most."""

PATIENCE_SECONDS = 1.0
"""How long a call waits for its rate."""

REFUSED_SECONDS = 5.0
"""After how long one is refused for which that is not enough, so that a flood is slow."""

PER_TURN = 2
"""Pieces of strangers' work that begin in a turn of the event loop; one takes about 0.3 ms."""

TRICKLE_SECONDS = 0.01
"""Between strangers' calls while a notification is decided upon."""

PAUSE_SECONDS = 0.1
"""How long a notification keeps strangers to that: one that takes longer waits for something else."""


class Turns:
    """Lets strangers' work in, a few pieces in each turn of the event loop."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._scheduled = False
        self._deciding = 0
        self._quiet_until = 0.0

    async def enter(self) -> None:
        """Wait until it is one's turn."""
        loop = asyncio.get_running_loop()
        mine: asyncio.Future[None] = loop.create_future()
        self._waiting.append(mine)
        if not self._scheduled:
            self._schedule(loop, 0.0)
        await mine

    @contextmanager
    def deciding(self) -> Iterator[None]:
        """Let hardly anybody in while a notification is decided upon."""
        self._quiet_until = asyncio.get_running_loop().time() + PAUSE_SECONDS
        self._deciding += 1
        try:
            yield
        finally:
            self._deciding -= 1

    def _schedule(self, loop: asyncio.AbstractEventLoop, pause: float) -> None:
        self._scheduled = True
        loop.call_later(max(pause, TRICKLE_SECONDS if self._quiet(loop) else 0.0), self._let_in, loop)

    def _let_in(self, loop: asyncio.AbstractEventLoop) -> None:
        self._scheduled = False
        left = 1 if self._quiet(loop) else PER_TURN
        while self._waiting and left:
            first = self._waiting.popleft()
            if not first.done():  # whoever waited may be gone
                first.set_result(None)
                left -= 1
        if self._waiting:
            self._scheduled = True
            loop.call_soon(self._rest, loop, loop.time())

    def _rest(self, loop: asyncio.AbstractEventLoop, began: float) -> None:
        """Let the next ones in once others have had as much time as these took."""
        self._schedule(loop, loop.time() - began)

    def _quiet(self, loop: asyncio.AbstractEventLoop) -> bool:
        return self._deciding > 0 and loop.time() < self._quiet_until


class Admission:
    """Lets callers with a token in at once, and strangers when it is their turn.

    Args:
        app: what it stands in front of.
        access: knows the tokens.
        turns: that strangers take.
        costs: for how many calls one of a path counts; of other paths it is one.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        app: ASGIApp,
        access: Access,
        turns: Turns,
        costs: Mapping[str, float],
        clock: Callable[[], float],
    ) -> None:
        self._app = app
        self._costs = costs
        self._access = access
        self._turns = turns
        self._rates = Rates(*CALLS, clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a call on in its turn; refuse a stranger's who comes far too often."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif self._access.bearer(scope) is None:
            app = self._app if await self._in_time(scope) else _too_many
            await self._turns.enter()
            await app(scope, receive, send)
        elif scope["path"] == "/alerts":
            with self._turns.deciding():
                await self._app(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _in_time(self, scope: Scope) -> bool:
        """Wait for an address's rate, and return whether it allows the call; `/livez` is always answered."""
        delay = self._rates.delay(caller(scope), PATIENCE_SECONDS, self._costs.get(scope["path"], 1.0))
        alive = scope["path"] == "/livez"
        await asyncio.sleep(delay if delay is not None else PATIENCE_SECONDS if alive else REFUSED_SECONDS)
        return alive or delay is not None


_too_many = JSONResponse({"error": "too many calls without a token"}, 429, {"retry-after": "5"})
