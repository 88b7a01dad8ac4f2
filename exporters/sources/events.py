"""Where events come from, as one text names it."""

from __future__ import annotations

from rollguard.exporters.sources.file import FileSource
from rollguard.exporters.sources.interface import Block, Source
from rollguard.exporters.sources.redis_url import is_stream


def events_source(text: str, name: str = "events") -> Source[Block]:
    """Return the source of lines that a text names.

    Args:
        text: a path, a pattern of paths, or redis://HOST:PORT/DB?stream=NAME.
        name: what it holds.
    Raises:
        StreamError: it is an address that names no stream.
    """
    if not is_stream(text):
        return FileSource(text, name)
    from rollguard.exporters.sources.redis_stream import RedisStreamSource  # noqa: PLC0415 - 10 MB that files need not

    return RedisStreamSource(text, name)
