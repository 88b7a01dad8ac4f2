"""The text of the metrics, made again no oftener than a tenth of the time allows."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import anyio.to_thread
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

_OPEN_METRICS = "application/openmetrics-text"
_FORMS = {True: f"{_OPEN_METRICS}; version=1.0.0", False: ""}

SHARE = 10.0
"""A text that took a second to make is good for so many."""


@dataclass(frozen=True)
class _Text:
    content: bytes
    type: str
    good_until: float


class Exposition:
    """Encodes what a registry collects, once for all who ask at the same time.

    Args:
        registry: of the metrics.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._texts: dict[bool, _Text] = {}
        self._making: asyncio.Lock | None = None
        self._threads: anyio.CapacityLimiter | None = None

    async def text(self, accept: str, *, fresh: bool) -> tuple[bytes, str]:
        """Return the text and its content type.

        Args:
            accept: the header of that name; OpenMetrics where it asks for that.
            fresh: whether it is made for this caller; else it may be a little old.
        """
        form = _OPEN_METRICS in accept
        self._making = self._making or asyncio.Lock()
        async with self._making:
            found = self._texts.get(form)
            if fresh or found is None or time.monotonic() > found.good_until:
                self._threads = self._threads or anyio.CapacityLimiter(1)
                found = await anyio.to_thread.run_sync(self._made, form, limiter=self._threads)
                self._texts[form] = found
        return found.content, found.type

    def _made(self, form: bool) -> _Text:
        began = time.monotonic()
        encode, content_type = choose_encoder(_FORMS[form])
        content = encode(self._registry)
        now = time.monotonic()
        return _Text(content, content_type, now + SHARE * (now - began))
