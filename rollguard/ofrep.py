"""OFREP, the protocol by which OpenFeature clients ask for flags: one, all of them, and when to ask again."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from rollguard import bodies, flags

MAX_STREAMS = 500
KEEPALIVE_SECONDS = 15.0
INACTIVITY_SECONDS = 120
"""After which a web client in the background may close its stream."""

_PATH = "/ofrep/v1"
_REFETCH = b'data: {"type": "refetchEvaluation"}\n\n'
_STATUS_OF_CODE = {"FLAG_NOT_FOUND": 404}


class Streams:
    """The open event streams; `publish` and `close` may be called from any thread.

    Args:
        boundaries: Unix seconds at which flags change by themselves.
        clock: Unix seconds.
    """

    def __init__(self, boundaries: Sequence[int], clock: Callable[[], float]) -> None:
        self._boundaries = sorted(boundaries)
        self._clock = clock
        self._lock = threading.Lock()
        self._open: set[_Stream] = set()
        self._closed = False

    @property
    def count(self) -> int:
        """How many are open."""
        return len(self._open)

    def publish(self) -> None:
        """Have every client ask again."""
        with self._lock:
            for stream in self._open:
                stream.wake()

    def close(self) -> None:
        """End all streams: a server that stops need not wait for them."""
        self._closed = True
        self.publish()

    async def events(self) -> AsyncIterator[bytes]:
        """Yield what one client is to be sent, until it goes or the server stops."""
        stream = _Stream(self._passed())
        with self._lock:
            self._open.add(stream)
        try:
            yield b"retry: 1000\n" + _REFETCH  # what changed before it listened, it has missed
            while not self._closed:
                changed = await stream.wait(self._pause())
                before, stream.passed = stream.passed, self._passed()
                if not self._closed:
                    yield _REFETCH if changed or stream.passed != before else b": alive\n\n"
        finally:
            with self._lock:
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
    """One client: whether it is to be told, and how many boundaries had passed when it last was."""

    def __init__(self, passed: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()
        self.passed = passed

    def wake(self) -> None:
        """Tell it soon; harmless where its loop has ended."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._event.set)

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
        origins: web origins whose pages may ask; ``*`` for any.
    """

    def __init__(self, evaluator: flags.FlagEvaluator, streams: Streams, origins: Sequence[str] = ()) -> None:
        self._evaluator = evaluator
        self._streams = streams
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
        except flags.FlagError as error:
            return _refused(error, key=key)
        return JSONResponse(_shown(found))

    async def _all(self, request: Request) -> Response:
        try:
            context = await _context(request)
            found = await run_in_threadpool(self._evaluator.evaluate_all, context)
        except flags.FlagError as error:
            return _refused(error)
        listed = [_shown(evaluation) for evaluation in found]
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

    async def _events(self, _: Request) -> Response:
        if self._streams.count >= MAX_STREAMS:
            said = {"errorDetails": f"over {MAX_STREAMS} event streams are open"}
            return JSONResponse(said, status_code=429, headers={"retry-after": "30"})
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(self._streams.events(), media_type="text/event-stream", headers=headers)


def _shown(found: flags.Evaluation) -> dict[str, Any]:
    return {
        "key": found.key,
        "value": found.value,
        "variant": found.variant,
        "reason": found.reason,
        "metadata": found.metadata,
    }


def _refused(error: flags.FlagError, **more: str) -> Response:
    answer = {**more, "errorCode": error.code, "errorDetails": str(error)}
    return JSONResponse(answer, status_code=_STATUS_OF_CODE.get(error.code, 400))


async def _context(request: Request) -> Mapping[str, Any]:
    try:
        data = await bodies.json_object(request)
    except HTTPException as error:
        raise flags.FlagError(error.detail, "PARSE_ERROR") from error
    context = data.get("context")
    if context is None:
        return {}
    if not isinstance(context, dict):
        raise flags.FlagError("context is not an object", "INVALID_CONTEXT")
    return context
