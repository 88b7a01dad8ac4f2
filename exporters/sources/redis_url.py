"""How a stream is named: a URL of Redis with the stream's name as an option."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit

from rollguard.errors import RollguardError, without_login

HINT = "Write redis://127.0.0.1:6379/0?stream=events, and &group=, &consumer= or &field= where need be."


class StreamError(RollguardError):
    """The address names no stream."""


@dataclass(frozen=True)
class StreamAddress:
    """A stream, and as whom it is read.

    Args:
        server: URL as redis-py takes it: redis://, rediss:// for TLS, or unix://.
        stream: its key.
        group: the consumer group.
        consumer: the name within the group.
        field: of an entry, which holds the JSON object.
    """

    server: str
    stream: str
    group: str = "rollguard"
    consumer: str = "rollguard"
    field: bytes = b"data"

    @classmethod
    def parse(cls, url: str) -> StreamAddress:
        """Return the address that a URL names in its options stream, group, consumer and field.

        Raises:
            StreamError: it is none of Redis, or names no stream.
        """
        try:
            parts = urlsplit(url)
        except ValueError as error:
            raise StreamError(f"the address is none: {error}\n  {HINT}") from error
        options = dict(parse_qsl(parts.query))
        ours = {
            name: options.pop(name) for name in ("stream", "group", "consumer", "field") if name in options
        }
        if parts.scheme not in {"redis", "rediss", "unix"} or not ours.get("stream"):
            raise StreamError(f"the address names no stream\n  {HINT}")
        field = ours.pop("field", "data").encode()
        return cls(parts._replace(query=urlencode(options)).geturl(), field=field, **ours)

    def __str__(self) -> str:
        server = urlsplit(self.server)._replace(query="").geturl()
        return f"{without_login(server)}?stream={self.stream}"


def is_stream(text: str) -> bool:
    """Return whether a text is meant as a stream's address, rather than a path."""
    return text.startswith(("redis://", "rediss://", "unix://"))
