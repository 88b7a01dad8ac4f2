"""Events of an application as a JSON schema, for whoever writes them."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta

Time: TypeAlias = Annotated[float, Meta(ge=0, description="Unix seconds.")]


Word: TypeAlias = Annotated[str, Meta(min_length=1, max_length=100)]


NUMBER, NAME = ("number", "null"), ("string", "integer", "null")
"""Types of optional keys, for `lenient`."""


def lenient(description: str, **schema: Any) -> Meta:
    """Return what says what an optional key should be, and lets a line pass where it is something else.

    Args:
        description: for people.
        schema: of the key, as JSON schemas have it.
    """
    return Meta(description=description, extra_json_schema=schema)


def event_schema(events: Any, of: str) -> bytes:
    """Return the JSON schema of a line of an events file.

    Args:
        events: the union of the events' types.
        of: whose events they are, in words.
    """
    document = msgspec.json.schema(events) | {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"An event of {of}: one line of the events file",
    }
    return msgspec.json.format(msgspec.json.encode(document, order="sorted"), indent=2) + b"\n"
