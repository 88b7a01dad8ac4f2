"""Reading what a caller sends, within limits."""

from __future__ import annotations

import json
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

MAX_BYTES = 64 * 1024
"""Of a request that is no notification."""


async def read(request: Request, limit: int) -> bytes | None:
    """Return the body, or nothing where it is over the limit; no more than the limit is ever held."""
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > limit:
        return None
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                return None
    except ClientDisconnect:
        return b""
    return bytes(body)


async def json_object(request: Request) -> dict[str, Any]:
    """Return the JSON object that a caller sends; nothing stands for an empty one.

    Raises:
        HTTPException: it is too large, or something else.
    """
    body = await read(request, MAX_BYTES)
    if body is None:
        raise HTTPException(413, "the request is over 64 KiB")
    try:
        data = json.loads(body) if body.strip() else {}
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"the request is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise HTTPException(400, "the request is not a JSON object")
    return data
