"""The control plane's HTTP: Alertmanager's webhook, flags by OFREP, a JSON API, metrics and health."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from rollguard import bodies, status
from rollguard.applier import Applier
from rollguard.control import ControlPlane, UnknownRolloutError
from rollguard.errors import RollguardError
from rollguard.ledger import ConflictError, LedgerError, parse_head
from rollguard.lifecycle import RefusedError
from rollguard.metrics import Metrics
from rollguard.notification import MAX_BYTES, NotificationError, parse_webhook
from rollguard.ofrep import Ofrep, Streams

log = logging.getLogger(__name__)


VERBS = ("start", "promote", "rollback", "pause", "resume", "acknowledge")
"""What a person may do with a rollout: methods of the control plane, by name."""

_EXTRAS = {
    "from": ("promote", "origin", "the stage that the rollout is believed to be in"),
    "to": ("rollback", "to", "fallback, previous or an earlier stage"),
}
"""Keys of a body that one verb has beside actor and reason: whose, as which argument, what it says."""


class TokenError(RollguardError):
    """The file with the bearer token cannot be used."""


def read_token(path: Path) -> bytes:
    """Return the bearer token that a file holds.

    Args:
        path: one line; white space around it does not count.
    Raises:
        TokenError: it cannot be read, holds less than 16 characters, or some that no header can carry.
    """
    try:
        token = path.read_bytes().strip()
    except OSError as error:
        raise TokenError(f"the token file {path} cannot be read: {error.strerror}.") from error
    if len(token) < 16:
        raise TokenError(f"the token file {path} holds {len(token)} characters, expected 16 or more.")
    if not all(0x21 <= byte <= 0x7E for byte in token):
        raise TokenError(f"the token file {path} holds spaces, line breaks or bytes beyond ASCII.")
    return token


class Server:
    """The routes, and what they need.

    Args:
        control: decides.
        applier: brings the targets along.
        metrics: counts.
        token: what a caller must present to change or read anything but flags, metrics and health.
        wake: asks for a poll of Alertmanager.
        origins: web origins whose pages may ask for flags; ``*`` for any.
    """

    def __init__(
        self,
        control: ControlPlane,
        applier: Applier,
        metrics: Metrics,
        token: bytes,
        *,
        wake: Callable[[], None] = lambda: None,
        origins: Sequence[str] = (),
    ) -> None:
        self._control = control
        self._applier = applier
        self._metrics = metrics
        self._token = token
        self._wake = wake
        self._logged: set[str] = set()
        schedules = (rollout.flag.schedule for rollout in control.rollouts.values() if rollout.flag.schedule)
        times = (time for item in schedules for time in (item.enable_time, item.disable_time))
        self.streams = Streams([time for time in times if time is not None], control.clock.wall)
        control.evaluator.on_change = self.streams.publish
        self._ofrep = Ofrep(control.evaluator, self.streams, origins)

    def app(self) -> Starlette:
        """Return the ASGI application."""
        guarded = self._guarded
        return Starlette(
            routes=[
                Route("/alerts", self._alerts, methods=["POST"]),
                self._ofrep.mount(),
                Route("/api/v1/rollouts", guarded(self._rollouts)),
                Route("/api/v1/rollouts/{name}", guarded(self._rollout)),
                Route("/api/v1/rollouts/{name}/{verb}", guarded(self._act), methods=["POST"]),
                Route("/api/v1/history", guarded(self._history)),
                Route("/api/v1/verify", guarded(self._verify)),
                Route("/metrics", self._exposition),
                Route("/livez", lambda _: PlainTextResponse("alive\n")),
                Route("/readyz", self._ready),
            ],
            exception_handlers={HTTPException: _told, RollguardError: _failed, Exception: _broken},
        )

    async def _alerts(self, request: Request) -> Response:
        received_at = self._control.clock.monotonic()
        if not self._allowed(request):
            return self._rejected("unauthorized", 401, "a bearer token is needed")
        body = await bodies.read(request, MAX_BYTES)
        if body is None:
            return self._rejected("too_large", 413, "the payload is over 1 MiB")
        try:
            notification = parse_webhook(body)
        except NotificationError as error:
            return self._rejected(error.reason, 400, str(error))
        for text in notification.broken:
            self._metrics.broken.inc()
            self._log_once("broken", f"an alert within a notification cannot be read: {text}")
        try:
            entries = await run_in_threadpool(self._control.notify, notification, received_at)
        except (LedgerError, ConflictError) as error:
            # Alertmanager tries again after a 503, and after nothing else that is not a 2xx.
            return self._rejected("storage", 503, str(error))
        self._metrics.notifications.inc()
        self._wake()
        return JSONResponse({"decided": [status.entry(entry) for entry in entries]})

    async def _rollouts(self, _: Request) -> Response:
        return JSONResponse(await run_in_threadpool(status.overview, self._control, self._applier))

    async def _rollout(self, request: Request) -> Response:
        name = request.path_params["name"]
        for row in await run_in_threadpool(status.overview, self._control, self._applier):
            if row["rollout"] == name:
                return JSONResponse(row)
        raise UnknownRolloutError(f"{name} is no rollout.")

    async def _act(self, request: Request) -> Response:
        name, verb = request.path_params["name"], request.path_params["verb"]
        acts = {act: getattr(self._control, act) for act in VERBS}
        if verb not in acts:
            raise HTTPException(404, f"{verb} is none of {', '.join(acts)}")
        asked = await bodies.json_object(request)
        actor, reason = asked.get("actor") or "unknown", asked.get("reason") or ""
        if not isinstance(actor, str) or not isinstance(reason, str):
            raise HTTPException(400, "actor and reason are expected to be text")
        more = _more(verb, asked)
        entry = await run_in_threadpool(acts[verb], name, actor=actor[:200], reason=reason[:2000], **more)
        return JSONResponse(status.entry(entry))

    async def _history(self, request: Request) -> Response:
        rollout = request.query_params.get("rollout")
        after = request.query_params.get("after", "0")
        if not after.isdecimal() or len(after) > 15:
            raise HTTPException(400, f"after is {after[:20]!r}, expected the number of an entry")
        entries = await run_in_threadpool(self._control.history, rollout, int(after))
        return JSONResponse([status.entry(entry) for entry in entries])

    async def _verify(self, request: Request) -> Response:
        ledger = self._control.ledger
        text = request.query_params.get("head")
        head = parse_head(text) if text is not None else None
        if text is not None and head is None:
            raise HTTPException(400, f"head is {text[:80]!r}, expected NUMBER:HASH")
        faults = await run_in_threadpool(ledger.verify, head)
        seq, digest = await run_in_threadpool(ledger.newest)
        return JSONResponse({"entries": seq, "head": digest, "faults": [str(fault) for fault in faults]})

    async def _exposition(self, request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        text = await run_in_threadpool(encode, self._metrics.registry)
        return Response(text, headers={"content-type": content_type})

    async def _ready(self, _: Request) -> Response:
        try:
            await run_in_threadpool(self._control.ledger.check)
        except LedgerError as error:
            return PlainTextResponse(f"not ready: {error}\n", status_code=503)
        return PlainTextResponse("ready\n")

    def _guarded(
        self, route: Callable[[Request], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def guarded(request: Request) -> Response:
            if not self._allowed(request):
                return JSONResponse({"error": "a bearer token is needed"}, status_code=401)
            return await route(request)

        return guarded

    def _allowed(self, request: Request) -> bool:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        given = token.strip().encode("latin-1", "replace")
        return hmac.compare_digest(given, self._token) and scheme.lower() == "bearer"

    def _rejected(self, reason: str, code: int, text: str) -> Response:
        self._metrics.rejected.labels(reason).inc()
        self._log_once(reason, f"a notification is refused with {code}: {text}")
        return JSONResponse({"error": text}, status_code=code)

    def _log_once(self, kind: str, text: str) -> None:
        if kind not in self._logged:
            self._logged.add(kind)
            log.warning("%s (the next ones of this kind are only counted)", text)


def _more(verb: str, asked: Mapping[str, Any]) -> dict[str, str]:
    """Return the arguments that are a verb's own."""
    found = {}
    for key, (whose, argument, meaning) in _EXTRAS.items():
        value = asked.get(key)
        if value is not None and (verb != whose or not isinstance(value, str)):
            raise HTTPException(400, f"{key} is for {whose}: {meaning}")
        if value is not None:
            found[argument] = value
    return found


async def _told(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, status_code=error.status_code)


async def _failed(_: Request, error: Exception) -> Response:
    codes: dict[type[Exception], int] = {
        UnknownRolloutError: 404,
        RefusedError: 409,
        ConflictError: 503,
        LedgerError: 503,
    }
    return JSONResponse({"error": str(error)}, status_code=codes.get(type(error), 500))


async def _broken(_: Request, error: Exception) -> Response:
    log.error("a request failed in a way nobody foresaw", exc_info=error)
    return JSONResponse({"error": "internal error"}, status_code=500)
