"""Callers without a token, on every path that is open: each asks again as soon as it is answered.

python -m bench.strangers PORT COUNT FLAG      # until it is killed; one line once all are at work
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from contextlib import suppress

STREAM = "/ofrep/v1/events"


def requests(flag: str) -> Sequence[tuple[str, bytes]]:
    """Return the open paths, and what is sent to each."""
    context = b'{"context": {"targetingKey": "user-1"}}'
    posted = (f"/ofrep/v1/evaluate/flags/{flag}", "/ofrep/v1/evaluate/flags", "/alerts")
    asked = (STREAM, "/api/v1/openapi.json", "/api/v1/rollouts", "/metrics", "/livez", "/readyz")
    found = [(path, _request("POST", path, context)) for path in posted]
    return [*found, *((path, _request("GET", path)) for path in asked)]


def _request(method: str, path: str, body: bytes = b"") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


async def _ask(port: int, path: str, request: bytes) -> None:
    """Ask for ever, over a connection that is made anew where it ends."""
    while True:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 22)
            try:
                while True:
                    writer.write(request)
                    head = (await reader.readuntil(b"\r\n\r\n")).lower()
                    if path == STREAM and head.startswith(b"http/1.1 200"):
                        while await reader.read(1 << 16):
                            pass
                        break
                    length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
                    await reader.readexactly(length)
            finally:
                writer.close()
        await asyncio.sleep(0.01)


async def _ask_all(port: int, count: int, flag: str) -> None:
    strangers = [_ask(port, path, request) for path, request in requests(flag) for _ in range(count)]
    working = asyncio.gather(*strangers)
    await asyncio.sleep(3)
    print(f"{len(strangers)} strangers", flush=True)
    await working


if __name__ == "__main__":
    asyncio.run(_ask_all(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
