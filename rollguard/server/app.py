"""The control plane's HTTP: Alertmanager's webhook, flags by OFREP, a JSON API, metrics and health."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from rollguard.control.decisions import UnknownRolloutError
from rollguard.control.plane import ControlPlane
from rollguard.control.transitions import RefusedError
from rollguard.errors import RollguardError
from rollguard.ledger import ConflictError, LedgerError
from rollguard.monitoring.alerts import MAX_BYTES, NotificationError, parse_webhook
from rollguard.server import requests
from rollguard.server.access import Access, Audit
from rollguard.server.api import Api
from rollguard.server.batches import Batches
from rollguard.server.exposition import Exposition
from rollguard.server.http_protocol import Room
from rollguard.server.metrics import Metrics
from rollguard.server.ofrep import ALL_FLAGS, FLAGS_PER_TURN, Ofrep, Streams
from rollguard.server.turns import MOST_COST, Admission, Turns
from rollguard.targets.applier import Applier
from rollguard.tokens import Tokens
from rollguard.workers.ledger_probe import LedgerProbe

log = logging.getLogger(__name__)

MOST_NOTIFICATIONS = 200
"""At a time; should a database hang, there is room left for those who ask for flags."""

_REJECTED = {401: "unauthorized", 403: "unauthorized", 408: "timeout", 413: "too_large", 429: "unauthorized"}


class Server:
    """The routes, and what they need.

    Args:
        control: decides.
        applier: brings the targets along.
        metrics: counts.
        probe: of the ledger.
        tokens: of callers that change or read anything but flags, metrics and health.
        wake: asks for a poll of Alertmanager.
        origins: web origins whose pages may ask for flags; ``*`` for any.
        proxies: networks whose word about whom they stand for is believed.
    """

    def __init__(
        self,
        control: ControlPlane,
        applier: Applier,
        metrics: Metrics,
        probe: LedgerProbe,
        tokens: Tokens,
        *,
        wake: Callable[[], None] = lambda: None,
        origins: Sequence[str] = (),
        proxies: Sequence[str] = (),
    ) -> None:
        self._control = control
        self._notified = Batches(control.handle_notifications)
        self._metrics = metrics
        self._probe = probe
        self._wake = wake
        self._logged: set[str] = set()
        self._deciding = 0
        schedules = (rollout.flag.schedule for rollout in control.rollouts.values() if rollout.flag.schedule)
        times = (time for item in schedules for time in (item.enable_time, item.disable_time))
        self._turns = Turns()
        boundaries = [time for time in times if time is not None]
        self.streams = Streams(boundaries, control.clock.wall, self._turns.enter)
        control.evaluator.on_change = self.streams.publish
        self._ofrep = Ofrep(control.evaluator, self.streams, self._turns.enter, origins)
        self.room = Room(lambda given: tokens.bearer(given) is not None, proxies)
        self._access = Access(tokens, control.clock.monotonic)
        self._texts = Exposition(metrics.registry)
        self._api = Api(control, applier, self._access)

    def app(self) -> Starlette:
        """Return the ASGI application."""
        audit = Middleware(
            Audit,
            refused=lambda code: self._metrics.refused.labels(str(code)).inc(),
            clock=self._control.clock.monotonic,
        )
        admission = Middleware(
            Admission,
            access=self._access,
            turns=self._turns,
            costs={ALL_FLAGS: 1 + min(MOST_COST, len(self._control.rollouts) / FLAGS_PER_TURN)},
            clock=self._control.clock.monotonic,
        )
        return Starlette(
            routes=[
                Route("/alerts", self._alerts, methods=["POST"]),
                self._ofrep.mount(),
                *self._api.routes(),
                Route("/metrics", self._exposition),
                Route("/livez", _livez),
                Route("/readyz", self._ready),
            ],
            middleware=[audit, admission],
            exception_handlers={
                HTTPException: _http_error,
                RollguardError: _rollguard_error,
                Exception: _unhandled_error,
            },
        )

    async def _alerts(self, request: Request) -> Response:
        received_at = self._control.clock.monotonic()
        try:
            self._access.require("alerts", request)
            notification = parse_webhook(await requests.read(request, MAX_BYTES))
        except HTTPException as error:
            self._metrics.rejected.labels(_REJECTED[error.status_code]).inc()
            raise
        except NotificationError as error:
            return self._rejected(error.reason, 400, str(error))
        for text in notification.broken:
            self._metrics.broken.inc()
            self._log_once("broken", f"an alert within a notification cannot be read: {text}")
        if self._deciding >= MOST_NOTIFICATIONS:
            return self._rejected("storage", 503, "too many notifications wait for the ledger; try again")
        self._deciding += 1
        try:
            entries, has_unconfirmed = await self._notified.result((notification, received_at))
            if has_unconfirmed:
                entries = entries + await run_in_threadpool(
                    self._control.confirm_with_alertmanager, received_at
                )
        except (LedgerError, ConflictError) as error:
            # Alertmanager tries again after a 503, and after nothing else that is not a 2xx.
            return self._rejected("storage", 503, str(error))
        finally:
            self._deciding -= 1
        self._metrics.notifications.inc()
        self._wake()
        return Response(msgspec.json.encode({"decided": entries}), media_type="application/json")

    async def _exposition(self, request: Request) -> Response:
        fresh = request.state.bearer is not None
        text, content_type = await self._texts.text(request.headers.get("accept", ""), fresh=fresh)
        return Response(text, headers={"content-type": content_type})

    async def _ready(self, _: Request) -> Response:
        found = self._probe.last()
        age = f"probed {found.age:.1f} s ago\n"
        if found.problem:
            return PlainTextResponse(f"not ready: {found.problem}\n{age}", status_code=503)
        return PlainTextResponse(f"ready\n{age}")

    def _rejected(self, reason: str, code: int, text: str) -> Response:
        self._metrics.rejected.labels(reason).inc()
        return JSONResponse({"error": text}, status_code=code)

    def _log_once(self, kind: str, text: str) -> None:
        if kind not in self._logged:
            self._logged.add(kind)
            log.warning("%s (the next ones of this kind are only counted)", text)


async def _livez(_: Request) -> Response:
    return PlainTextResponse("alive\n")  # which waits for no thread: they may all wait for a database


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, status_code=error.status_code, headers=error.headers)


async def _rollguard_error(_: Request, error: Exception) -> Response:
    codes: dict[type[Exception], int] = {
        UnknownRolloutError: 404,
        RefusedError: 409,
        ConflictError: 503,
        LedgerError: 503,
    }
    return JSONResponse({"error": str(error)}, status_code=codes.get(type(error), 500))


async def _unhandled_error(_: Request, error: Exception) -> Response:
    log.error("a request failed in a way nobody foresaw", exc_info=error)
    return JSONResponse({"error": "internal error"}, status_code=500)
