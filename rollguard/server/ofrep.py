"""OFREP, the protocol by which OpenFeature clients ask for flags: one, all of them, and when to ask again."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from rollguard.flags import definitions
from rollguard.server import requests
from rollguard.server.access import caller

MAX_STREAMS = 500
MAX_STREAMS_OF_ADDRESS = 50
"""Of callers without a token."""

FLAGS_PER_TURN = 5
"""Evaluated one after the other, before others have their turn; one takes about 60 µs."""

KEEPALIVE_SECONDS = 15.0
INACTIVITY_SECONDS = 120
"""After which a web client in the background may close its stream."""

_PATH = "/ofrep/v1"
ALL_FLAGS = f"{_PATH}/evaluate/flags"
"""Where all flags are asked for at once."""

_REFETCH = b'data: {"type": "refetchEvaluation"}\n\n'
_STATUS_OF_CODE = {"FLAG_NOT_FOUND": 404}


class Streams:
    """The open event streams of one event loop; `publish` and `close` may be called from any thread.

    Args:
        boundaries: Unix seconds at which flags change by themselves.
        clock: Unix seconds.
        turn: waited for before each client is told of a change: hundreds would delay what is more urgent.
    """

    def __init__(
        self,
        boundaries: Sequence[int],
        clock: Callable[[], float],
        turn: Callable[[], Awaitable[None]] = lambda: asyncio.sleep(0),
    ) -> None:
        self._boundaries = sorted(boundaries)
        self._clock = clock
        self._turn = turn
        self._loop: asyncio.AbstractEventLoop | None = None
        self._open: set[_Stream] = set()
        self._untold: dict[_Stream, None] = {}
        self._telling: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def count(self) -> int:
        """How many are open."""
        return len(self._open)

    def count_of(self, address: str) -> int:
        """Return how many an address has open."""
        return sum(stream.address == address for stream in self._open)

    def publish(self) -> None:
        """Have every client ask again."""
        self._soon(self._begin_to_tell)

    def close(self) -> None:
        """End all streams: a server that stops need not wait for them."""
        self._closed = True
        self._soon(self._wake_all)

    def _soon(self, work: Callable[[], object]) -> None:
        """Do something in the streams' loop; harmless where that has ended."""
        if self._loop and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(work)

    def _wake_all(self) -> None:
        for stream in self._open:
            stream.wake()

    def _begin_to_tell(self) -> None:
        self._untold |= dict.fromkeys(self._open)
        if self._telling is None or self._telling.done():
            self._telling = asyncio.ensure_future(self._tell())

    async def _tell(self) -> None:
        while self._untold:
            await self._turn()
            stream = next(iter(self._untold))
            del self._untold[stream]
            stream.wake()

    async def events(self, address: str = "") -> AsyncIterator[bytes]:
        """Yield what one client, at an address, is to be sent, until it goes or the server stops."""
        self._loop = asyncio.get_running_loop()
        stream = _Stream(address, self._passed())
        self._open.add(stream)
        try:
            yield b"retry: 1000\n" + _REFETCH  # what changed before it listened, it has missed
            while not self._closed:
                changed = await stream.wait(self._pause())
                before, stream.passed = stream.passed, self._passed()
                if not self._closed:
                    yield _REFETCH if changed or stream.passed != before else b": alive\n\n"
        finally:
            self._open.discard(stream)

    def _pause(self) -> float:
        """Return how long there is nothing to say unless a flag changes."""
        now = self._clock()
        ahead = (moment - now for moment in self._boundaries if moment > now)
        return min(KEEPALIVE_SECONDS, next(ahead, KEEPALIVE_SECONDS))

    def _passed(self) -> int:
        """Return how many boundaries are in the past."""
        return sum(moment <= self._clock() for moment in self._boundaries)


class _Stream:
    """One client: its address, whether it is to be told, how many boundaries had passed when it last was."""

    def __init__(self, address: str, passed: int) -> None:
        self._event = asyncio.Event()
        self.address = address
        self.passed = passed

    def wake(self) -> None:
        """Tell it soon."""
        self._event.set()

    async def wait(self, seconds: float) -> bool:
        """Wait to be woken, and return whether it was in time."""
        try:
            await asyncio.wait_for(self._event.wait(), seconds)
        except TimeoutError:
            return False
        self._event.clear()
        return True


class Ofrep:
    """The protocol's routes.

    Args:
        evaluator: of the flags.
        streams: to whom changes are told.
        turn: waited for between the flags of one call.
        origins: web origins whose pages may ask; ``*`` for any.
    """

    def __init__(
        self,
        evaluator: definitions.FlagEvaluator,
        streams: Streams,
        turn: Callable[[], Awaitable[None]],
        origins: Sequence[str] = (),
    ) -> None:
        self._evaluator = evaluator
        self._streams = streams
        self._turn = turn
        self._origins = origins

    def mount(self) -> Mount:
        """Return the routes under their path."""
        cors = Middleware(
            CORSMiddleware,
            allow_origins=self._origins,
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type", "if-none-match"],
            expose_headers=["etag"],
            max_age=86_400,
        )
        routes = [
            Route("/evaluate/flags/{key}", self._one, methods=["POST"]),
            Route("/evaluate/flags", self._all, methods=["POST"]),
            Route("/events", self._events),
        ]
        return Mount(_PATH, routes=routes, middleware=[cors] if self._origins else [])

    async def _one(self, request: Request) -> Response:
        key = request.path_params["key"]
        try:
            found = self._evaluator.evaluate(key, await _context(request))
        except definitions.FlagError as error:
            return _refused(error, key=key)
        return JSONResponse(_shown(found))

    async def _all(self, request: Request) -> Response:
        listed: list[dict[str, Any]] = []
        try:
            for found in self._evaluator.evaluate_all(await _context(request)):
                listed.append(_shown(found))
                if len(listed) % FLAGS_PER_TURN == 0:
                    await self._turn()
        except definitions.FlagError as error:
            return _refused(error)
        digest = hashlib.sha256(json.dumps(listed).encode()).hexdigest()[:32]
        headers = {"etag": f'"{digest}"', "cache-control": "no-cache"}
        if digest in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        stream = {
            "type": "sse",
            "endpoint": {"requestUri": f"{_PATH}/events"},
            "inactivityDelaySec": INACTIVITY_SECONDS,
        }
        return JSONResponse({"flags": listed, "eventStreams": [stream]}, headers=headers)

    async def _events(self, request: Request) -> Response:
        address = caller(request.scope)
        many = request.state.bearer is None and self._streams.count_of(address) >= MAX_STREAMS_OF_ADDRESS
        if many or self._streams.count >= MAX_STREAMS:
            said = f"{MAX_STREAMS_OF_ADDRESS} of {address}" if many else str(MAX_STREAMS)
            told = {"errorDetails": f"{said} event streams are open"}
            return JSONResponse(told, status_code=429, headers={"retry-after": "30"})
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(
            self._streams.events(address), media_type="text/event-stream", headers=headers
        )


def _shown(found: definitions.Evaluation) -> dict[str, Any]:
    return {
        "key": found.key,
        "value": found.value,
        "variant": found.variant,
        "reason": found.reason,
        "metadata": found.metadata,
    }


def _refused(error: definitions.FlagError, **more: str) -> Response:
    answer = {**more, "errorCode": error.code, "errorDetails": str(error)}
    return JSONResponse(answer, status_code=_STATUS_OF_CODE.get(error.code, 400))


async def _context(request: Request) -> Mapping[str, Any]:
    try:
        data = await requests.json_object(request)
    except HTTPException as error:
        raise definitions.FlagError(error.detail, "PARSE_ERROR") from error
    context = data.get("context")
    if context is None:
        return {}
    if not isinstance(context, dict):
        raise definitions.FlagError("context is not an object", "INVALID_CONTEXT")
    return context
