"""Where events come from, as one text names it."""

from __future__ import annotations

from exporters.sources.file import FileSource
from exporters.sources.interface import Block, Source
from exporters.sources.redis_stream import RedisStreamSource
from exporters.sources.redis_url import is_stream


def events_source(text: str, name: str = "events") -> Source[Block]:
    """Return the source of lines that a text names.

    Args:
        text: a path, a pattern of paths, or redis://HOST:PORT/DB?stream=NAME.
        name: what it holds.
    Raises:
        StreamError: it is an address that names no stream.
    """
    return RedisStreamSource(text, name) if is_stream(text) else FileSource(text, name)
