from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollguard.exporters.canary.events import KINDS, Event
from rollguard.exporters.runtime.decoding import (
    ENCODING,
    REASONS,
    SHAPE,
    SYNTAX,
    UNKNOWN,
    LineDecoder,
    Rejections,
)

GOOD = b'{"event":"parity","ts":1,"ok":true}'


@pytest.fixture
def decoder() -> LineDecoder[Event]:
    return LineDecoder(msgspec.json.Decoder(Event), frozenset(KINDS), Rejections())


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", SYNTAX),
        (b"nonsense", SYNTAX),
        (GOOD + b" " + GOOD, SYNTAX),
        (b'{"event":"parity","ts":NaN,"ok":true}', SYNTAX),
        (b'{"event":"parity","ts":-Infinity,"ok":true}', SYNTAX),
        (b'{"event":"parity","ts":1,"ok":true,"extra":' + b"[" * 100_000, SYNTAX),
        (b"\xef\xbb\xbf" + GOOD, SYNTAX),
        (b"[]", SHAPE),
        (b"3", SHAPE),
        (b'{"ts":1,"ok":true}', SHAPE),
        (b'{"event":7,"ts":1,"ok":true}', SHAPE),
        (b'{"event":"parity","ok":true}', SHAPE),
        (b'{"event":"parity","ts":"1","ok":true}', SHAPE),
        (b'{"event":"parity","ts":1,"ok":1}', SHAPE),
        (b'{"event":"parity","ts":1e999,"ok":true}', SHAPE),
        (b'{"event":"parity","ts":-1,"ok":true}', SHAPE),
        (b'{"event":"order","ts":1,"route":"moon","status":"filled"}', SHAPE),
        (b'{"event":"score","ts":1,"slot":"active","score":1.01}', SHAPE),
        (b'{"event":"score","ts":1,"slot":"active","score":1,"features":{"a":"b"}}', SHAPE),
        (b'{"event":"markout","ts":1,"route":"full","horizon_ms":200,"value":0}', SHAPE),
        (b'{"event":"markout","ts":1,"route":"full","horizon_ms":100,"value":1e300}', SHAPE),
        (b'{"event":"heartbeat","ts":1}', UNKNOWN),
        (b'{"event":"parity","ts":1,"ok":true,"extra":"\xff"}', ENCODING),
        (b'{"event":"st\xc3ge","ts":1}', ENCODING),
    ],
)
def test_a_broken_line_is_counted_by_its_reason_and_its_neighbours_are_kept(
    decoder: LineDecoder[Event], line: bytes, reason: str
) -> None:
    events, rejected = decoder.decode(b"\n".join([GOOD, line, GOOD]) + b"\n")
    assert len(events) == 2
    assert rejected == {reason: 1}


@pytest.mark.parametrize("blank", [b"", b"\n\n", b"\r\n", b"  \t\n"])
def test_blank_lines_are_nothing(decoder: LineDecoder[Event], blank: bytes) -> None:
    assert decoder.decode(blank + GOOD + b"\r\n" + blank) == ([msgspec.json.decode(GOOD, type=Event)], {})


def test_keys_that_nobody_knows_are_ignored(decoder: LineDecoder[Event]) -> None:
    events, rejected = decoder.decode(GOOD[:-1] + b',"id":"\xc3\xa9","more":{"ts":[null]}}\n')
    assert (len(events), rejected) == (1, {})


def test_each_kind_of_mistake_is_logged_once_with_its_line(
    decoder: LineDecoder[Event], caplog: pytest.LogCaptureFixture
) -> None:
    decoder.decode(b"first\nsecond\n" + b'{"event":"mystery"}\n' * 3)
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "passed over (syntax)",
        "passed over (unknown)",
    ]
    assert "first" in caplog.text
    assert "second" not in caplog.text


def test_a_long_line_is_logged_in_part(decoder: LineDecoder[Event], caplog: pytest.LogCaptureFixture) -> None:
    decoder.decode(b"x" * 100_000)
    assert len(caplog.text) < 500


@given(st.binary(max_size=200))
def test_no_bytes_raise(line: bytes) -> None:
    decoder = LineDecoder(msgspec.json.Decoder(Event), frozenset(KINDS), Rejections())
    events, rejected = decoder.decode(line)
    assert len(events) + rejected.total() <= line.count(b"\n") + 1
    assert set(rejected) <= set(REASONS)


class OneByOne:
    """A decoder that is asked for each line."""

    def __init__(self) -> None:
        self.decode = msgspec.json.Decoder(Event).decode


pieces = st.sampled_from(
    [
        GOOD,
        GOOD[:20],
        GOOD[20:],
        b"\n",
        b"\n",
        b"\n",
        b" ",
        b"\r",
        b"{",
        b"}",
        b",",
        b"[1]",
        b'"}\\n{"',
        b"\xff",
    ]
)


@given(
    st.lists(pieces).map(b"".join)
    | st.lists(st.sampled_from([GOOD, GOOD[:-1] + b',"x":"}{"}'])).map(b"\n".join)
)
def test_many_at_once_are_what_they_are_one_by_one(lines: bytes) -> None:
    at_once = LineDecoder(msgspec.json.Decoder(Event), frozenset(KINDS), Rejections())
    one_by_one: LineDecoder[Event] = LineDecoder(OneByOne(), frozenset(KINDS), Rejections())
    for text in (lines, lines + b"\n"):
        assert at_once.decode(text) == one_by_one.decode(text)
