"""Reading what a caller sends, within limits."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

MAX_BYTES = 64 * 1024
"""Of a request that is no notification."""

SECONDS = 10.0
"""How long a caller may take to send it."""


async def read(request: Request, limit: int) -> bytes:
    """Return the body; no more than the limit is ever held.

    Raises:
        HTTPException: 413 where it is over the limit, 408 where it does not come in time.
    """
    try:
        async with asyncio.timeout(SECONDS):
            return await _read(request, limit)
    except TimeoutError as error:
        raise HTTPException(408, f"the request did not come within {SECONDS:g} s") from error
    except ClientDisconnect:
        return b""


async def _read(request: Request, limit: int) -> bytes:
    announced = request.headers.get("content-length", "0")
    body = bytearray()
    too_large = HTTPException(413, f"the request is over {limit >> 10} KiB")
    if announced.isdecimal() and int(announced) > limit:
        raise too_large
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise too_large
    return bytes(body)


async def json_object(request: Request) -> dict[str, Any]:
    """Return the JSON object that a caller sends; nothing stands for an empty one.

    Raises:
        HTTPException: it is too large or too slow, or something else.
    """
    body = await read(request, MAX_BYTES)
    try:
        data = json.loads(body) if body.strip() else {}
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"the request is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise HTTPException(400, "the request is not a JSON object")
    return data
