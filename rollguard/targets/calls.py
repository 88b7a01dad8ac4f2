"""HTTP requests of targets: JSON out, JSON in, within limits; a failure is a `TargetError` in words."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import httpx

from rollguard.durations import render
from rollguard.spec.targets import SecretHeader
from rollguard.targets import json_file
from rollguard.targets.interface import TargetError

MAX_ANSWER_BYTES = 1 << 20


@dataclass(frozen=True)
class Caller:
    """Sends requests.

    Args:
        timeout: of each in whole, seconds; but for the look-up of its host, which the system limits.
        headers: of each.
        secret_headers: of each, with their files' content.
        root: the folder of those files.
    """

    timeout: float
    headers: Mapping[str, str] = field(default_factory=dict)
    secret_headers: Mapping[str, SecretHeader] = field(default_factory=dict)
    root: Path = Path()

    def call(
        self, method: str, url: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> bytes:
        """Send a request, and return what is answered with 2xx.

        Args:
            method: of the request.
            url: its address; redirections are not followed, as they would take secrets elsewhere.
            body: sent as JSON; None for none.
            headers: beside those of every request, and stronger.
        Raises:
            TargetError: there is no such answer.
        """
        sent = httpx.Headers({"content-type": "application/json"} if body is not None else {})
        sent.update(self.headers)
        sent.update(headers or {})
        for name, secret in self.secret_headers.items():
            sent[name] = secret.prefix + read_secret(self.root / secret.file)
        content = None if body is None else json.dumps(body).encode()
        try:
            answer, said = asyncio.run(self._answered(method, url, content, sent))
        except (TimeoutError, httpx.TimeoutException) as error:
            raise TargetError(f"{url} does not end its answer within {render(self.timeout)}.") from error
        except httpx.HTTPError as error:
            raise TargetError(f"{url} does not answer: {error}.") from error
        if not answer.is_success:
            text = said[:200].decode(errors="replace").strip()
            raise TargetError(f"{url} answers {answer.status_code} to {method}{': ' + text if text else '.'}")
        return said

    async def _answered(
        self, method: str, url: str, content: bytes | None, headers: httpx.Headers
    ) -> tuple[httpx.Response, bytes]:
        """Return an answer and its body, all in time: httpx itself limits each wait, not their sum."""
        async with (
            asyncio.timeout(self.timeout),
            httpx.AsyncClient(timeout=self.timeout, verify=_trusted()) as client,
            client.stream(method, url, content=content, headers=headers) as answer,
        ):
            return answer, await _limited(answer)

    def require(
        self, method: str, url: str, body: Any, expected: Mapping[str, Any], headers: Mapping[str, str]
    ) -> str:
        """Return in words how a JSON answer differs from what is expected; empty where it does not.

        Args:
            method, url, body, headers: as for `call`.
            expected: values by dotted keys; numbers count the items of lists.
        Raises:
            TargetError: it does not answer, or not with JSON.
        """
        try:
            found = json.loads(self.call(method, url, body, headers))
        except (ValueError, RecursionError) as error:
            raise TargetError(f"{url} does not answer with JSON: {error}.") from error
        for key, value in expected.items():
            shown = value_at(found, key)
            if not json_file.same(shown, value):
                return f"{url}: {key} is {json.dumps(shown)[:200]}, expected {json.dumps(value)[:200]}."
        return ""


@cache
def _trusted() -> ssl.SSLContext:
    """Return which servers are trusted; reading it for each request would take longer than the request."""
    return httpx.create_ssl_context()


async def _limited(answer: httpx.Response) -> bytes:
    said = bytearray()
    async for chunk in answer.aiter_bytes():
        said += chunk
        if len(said) > MAX_ANSWER_BYTES:
            raise TargetError(f"{answer.url} answers with more than 1 MiB.")
    return bytes(said)


def value_at(document: Any, dotted: str) -> Any:
    """Return what stands under dotted keys of JSON data; numbers count a list's items. None if nothing."""
    found = document
    for part in dotted.split("."):
        if isinstance(found, Mapping):
            found = found.get(part)
        elif isinstance(found, list) and part.isdecimal() and int(part) < len(found):
            found = found[int(part)]
        else:
            return None
    return found


def read_secret(path: Path) -> str:
    """Return the secret in a file.

    Raises:
        TargetError: it cannot be read, is empty, or is no line of printable ASCII.
    """
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise TargetError(f"the secret in {path} cannot be read: {type(error).__name__}.") from error
    if not text or not text.isprintable():
        raise TargetError(f"{path} is expected to hold a secret, on one line.")
    return text
