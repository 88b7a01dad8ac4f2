from __future__ import annotations

import pytest

from rollguard.exporters.sources.redis_url import StreamAddress, StreamError


def test_the_stream_is_named_in_the_options() -> None:
    found = StreamAddress.parse("rediss://me:secret@host:1/2?stream=a:b&group=g&consumer=c&field=json&db=2")
    assert found == StreamAddress("rediss://me:secret@host:1/2?db=2", "a:b", "g", "c", b"json")


def test_what_is_not_said_has_a_default() -> None:
    found = StreamAddress.parse("redis://host?stream=events")
    assert (found.group, found.consumer, found.field) == ("rollguard", "rollguard", b"data")


def test_a_password_is_not_shown() -> None:
    shown = str(StreamAddress.parse("redis://:secret@host:1/2?stream=events&password=secret"))
    assert shown == "redis://…@host:1/2?stream=events"


@pytest.mark.parametrize("url", ["", "redis://host", "redis://host?stream=", "http://host?stream=a"])
def test_what_names_no_stream_is_refused(url: str) -> None:
    with pytest.raises(StreamError, match="Write redis://"):
        StreamAddress.parse(url)
