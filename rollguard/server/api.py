"""The JSON API: all that the command line does with a control plane."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import anyio.to_thread
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rollguard.control import transitions
from rollguard.control.decisions import UnknownRolloutError
from rollguard.control.plane import ControlPlane
from rollguard.ledger import parse_head
from rollguard.server import openapi, requests, status
from rollguard.server.access import Access
from rollguard.state import CASCADE, CLOCK, GUARD, Entry, Transition
from rollguard.targets.applier import Applier

PREFIX = "/api/v1"
THREADS = 8
"""How many calls are worked on at a time; notifications have threads of their own."""

_Result = TypeVar("_Result")


class Api:
    """The API's routes.

    Args:
        control: is asked.
        applier: knows how far the targets are.
        access: asks callers for their tokens.
    """

    def __init__(self, control: ControlPlane, applier: Applier, access: Access) -> None:
        self._control = control
        self._applier = applier
        self._access = access
        self._threads: anyio.CapacityLimiter | None = None
        rollouts = control.rollouts
        self._openapi = JSONResponse(openapi.document({name: of.flag.key for name, of in rollouts.items()}))

    def routes(self) -> list[Route]:
        """Return them, each with the role that it asks for."""
        guarded = self._access.guarded
        verbs = [
            Route(f"{PREFIX}/rollouts/{{name}}/{verb}", guarded("operate", self._act(verb)), methods=["POST"])
            for verb in openapi.VERBS
        ]
        return [
            Route(f"{PREFIX}/openapi.json", self._document),
            Route(f"{PREFIX}/rollouts", guarded("read", self._rollouts)),
            Route(f"{PREFIX}/rollouts/{{name}}", guarded("read", self._rollout)),
            *verbs,
            Route(f"{PREFIX}/history", guarded("read", self._history)),
            Route(f"{PREFIX}/verify", guarded("read", self._verify)),
        ]

    async def _document(self, _: Request) -> Response:
        return self._openapi

    async def _rollouts(self, _: Request) -> Response:
        return JSONResponse(await self._run(status.overview, self._control, self._applier))

    async def _rollout(self, request: Request) -> Response:
        name = request.path_params["name"]
        for row in await self._run(status.overview, self._control, self._applier):
            if row["rollout"] == name:
                return JSONResponse(row)
        raise UnknownRolloutError(f"{name} is no rollout.")

    def _act(self, verb: str) -> Callable[[Request], Any]:
        act: Callable[..., Entry | Transition] = getattr(self._control, verb)

        async def acted(request: Request) -> Response:
            asked = await requests.json_object(request)
            said: dict[str, Any] = {
                "actor": _actor(asked),
                "reason": _text(asked, "reason", 2000),
            }
            for key, extra in openapi.EXTRAS.items():
                if asked.get(key) is not None:
                    if verb not in extra.verbs:
                        raise HTTPException(400, f"{key} is for {' and '.join(extra.verbs)}: {extra.meaning}")
                    said[extra.argument] = _READ[extra.type](asked, key)
            entry = await self._run(lambda: act(request.path_params["name"], **said))
            undo = {"undo": transitions.undo(entry)} if isinstance(entry, Entry) else {}
            return JSONResponse({**vars(entry), **undo})

        return acted

    async def _history(self, request: Request) -> Response:
        rollout = request.query_params.get("rollout")
        after = _query(request, "after", 0, range(10**15), "the number of an entry")
        pages = range(1, openapi.PAGE + 1)
        limit = _query(request, "limit", openapi.PAGE, pages, f"a number from 1 to {openapi.PAGE}")
        entries = await self._run(self._control.history, rollout, after, limit)
        return JSONResponse([status.entry(entry) for entry in entries])

    async def _verify(self, request: Request) -> Response:
        ledger = self._control.ledger
        text = request.query_params.get("head")
        head = parse_head(text) if text is not None else None
        if text is not None and head is None:
            raise HTTPException(400, f"head is {text[:80]!r}, expected NUMBER:HASH")
        faults = await self._run(ledger.verify, head)
        seq, digest = await self._run(ledger.newest)
        unproven = await self._run(ledger.unproven)
        if not faults:  # a ledger that lost its tail cannot be read on
            unproven += await self._run(ledger.undefined)
        told = [str(fault) for fault in faults]
        return JSONResponse({"entries": seq, "head": digest, "faults": told, "unproven": unproven})

    async def _run(self, work: Callable[..., _Result], *arguments: Any) -> _Result:
        self._threads = self._threads or anyio.CapacityLimiter(THREADS)
        return await anyio.to_thread.run_sync(work, *arguments, limiter=self._threads)


def _query(request: Request, name: str, default: int, allowed: range, expected: str) -> int:
    given = request.query_params.get(name, str(default))
    if not (given.isascii() and given.isdecimal() and len(given) <= 15 and int(given) in allowed):
        raise HTTPException(400, f"{name} is {given[:20]!r}, expected {expected}")
    return int(given)


def _flag(asked: Mapping[str, Any], key: str) -> bool:
    if not isinstance(asked[key], bool):
        raise HTTPException(400, f"{key} is expected to be true or false")
    return bool(asked[key])


def _number(asked: Mapping[str, Any], key: str) -> float:
    given = asked[key]
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given <= openapi.MOST:
        raise HTTPException(400, f"{key} is expected to be a number from 0 to {openapi.MOST}")
    return float(given)


def _text(asked: Mapping[str, Any], key: str, longest: int = 200) -> str:
    """Return text that every ledger can keep; half a character is replaced, nothing stands for none."""
    given = asked.get(key)
    if given is None:
        return ""
    if not isinstance(given, str):
        raise HTTPException(400, f"{key} is expected to be text")
    return given[:longest].encode(errors="replace").decode().replace("\0", "?")


def _actor(asked: Mapping[str, Any]) -> str:
    """Return a person's name; what the control plane says of its own decisions, anybody may read."""
    given = _text(asked, "actor", 200).strip() or "unknown"
    if given in (GUARD, CASCADE, CLOCK):
        raise HTTPException(400, f"actor is {given}, which means the control plane itself: name a person")
    return given


_READ: Mapping[str, Callable[[Mapping[str, Any], str], Any]] = {
    "string": _text,
    "boolean": _flag,
    "number": _number,
}
