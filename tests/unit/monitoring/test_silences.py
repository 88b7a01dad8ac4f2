"""Silences: which alerts they cover, and when."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rollguard.monitoring.alerts import NotificationError
from rollguard.monitoring.silences import parse_silences, silenced

LABELS = {"rollout": "model", "guard": "Errors"}


def listed(*matchers: dict[str, Any]) -> bytes:
    silence = {
        "id": "x",
        "matchers": matchers,
        "startsAt": "1970-01-01T00:01:40.000Z",
        "endsAt": "1970-01-01T00:03:20.000Z",
        "createdBy": "ann",
        "comment": "known",
        "status": {"state": "expired"},
    }
    return json.dumps([silence]).encode()


def matcher(name: str, value: str, **changes: Any) -> dict[str, Any]:
    return {"name": name, "value": value, "isRegex": False, "isEqual": True, **changes}


@pytest.mark.parametrize(
    ("matchers", "expected"),
    [
        ([matcher("rollout", "model")], True),
        ([matcher("rollout", "other")], False),
        ([matcher("rollout", "model"), matcher("guard", "Latency")], False),
        ([matcher("guard", "Err", isRegex=True)], False),
        ([matcher("guard", "Err.*", isRegex=True)], True),
        ([matcher("guard", "Latency", isEqual=False)], True),
        ([matcher("guard", "Err.*", isRegex=True, isEqual=False)], False),
        ([matcher("severity", "")], True),
        ([matcher("guard", "(", isRegex=True)], False),
        ([], False),
        ([matcher("rollout", "model", isEqual=None, isRegex=None)], True),
    ],
)
def test_all_matchers_must_match(matchers: list[dict[str, Any]], expected: bool) -> None:
    assert silenced(parse_silences(listed(*matchers)), LABELS, 150.0) is expected


@pytest.mark.parametrize(("at", "expected"), [(99.9, False), (100.0, True), (199.9, True), (200.0, False)])
def test_a_silence_covers_its_time_and_no_other(at: float, expected: bool) -> None:
    assert silenced(parse_silences(listed(matcher("rollout", "model"))), LABELS, at) is expected


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|a)*b", "(a|b|ab)*(a+a+)+c"])
def test_a_pattern_that_backtracks_hangs_nothing(pattern: str) -> None:
    found = parse_silences(listed(matcher("guard", pattern, isRegex=True)))
    assert not silenced(found, {"guard": "a" * 100_000 + "!"}, 150.0)


@pytest.mark.parametrize("equal", [True, False])
def test_what_cannot_be_read_covers_nothing_and_is_told_once(
    equal: bool, caplog: pytest.LogCaptureFixture
) -> None:
    body = listed(matcher("guard", f"x(?=y){equal}", isRegex=True, isEqual=equal))
    assert not any(silenced(parse_silences(body), LABELS, 150.0) for _ in range(3))
    assert [record.message.partition(": ")[0] for record in caplog.records] == ["a silence covers nothing"]


def test_what_is_null_is_empty() -> None:
    assert parse_silences(b"null") == ()
    (silence,) = parse_silences(listed().replace(b"[]", b"null"))
    assert not silence.covers(LABELS, 150.0)


@pytest.mark.parametrize("body", [b"<html>", b"{}", b'[{"matchers": 1}]', b"\xff"])
def test_another_shape_is_an_error(body: bytes) -> None:
    with pytest.raises(NotificationError, match="not a list of silences"):
        parse_silences(body)
