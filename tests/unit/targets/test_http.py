"""A service with an HTTP API: requests in order, the same key each time, secrets from files, plain errors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rollguard.targets import TargetError
from rollguard.targets.calls import MAX_ANSWER_BYTES, value_at
from rollguard.targets.interface import Target
from tests.contract.target_cases import BACK, CANARY, Vendor, built, rollout_with, trickling, vendor


@pytest.fixture
def service() -> Iterator[Vendor]:
    with vendor() as server:
        yield server


def target(folder: Path, service: Vendor, send: Any = None, expect: Any = None, **options: Any) -> Target:
    send = send or {"fallback": [{"path": "/on", "body": False}], "canary": [{"path": "/on", "body": True}]}
    expect = expect or {"fallback": {"on": False}, "canary": {"on": True}}
    read = {"expect": expect, **options.pop("read", {})}
    spec = {"name": "vendor", "url": service.url, "send": send, "read": read, **options}
    return built(rollout_with({"http": spec}), folder)


def test_what_shows_already_is_not_sent(tmp_path: Path, service: Vendor) -> None:
    target(tmp_path, service).apply(BACK)
    assert service.requests == []


def test_requests_are_sent_in_order(tmp_path: Path, service: Vendor) -> None:
    listed = [{"path": "/flag", "method": "PUT", "body": {"share": 10}}, {"path": "/on", "body": True}]
    found = target(tmp_path, service, {"canary": listed}, {"canary": {"on": True, "flag.share": 10}})
    found.apply(CANARY)
    assert found.read_back(CANARY)
    assert [line for line, _ in service.requests] == ["PUT /flag", "POST /on"]


def test_each_request_has_a_key_of_its_own_that_stays_when_it_is_tried_again(
    tmp_path: Path, service: Vendor
) -> None:
    service.failures = [503]
    listed = [{"path": "/flag", "body": 1}, {"path": "/on", "body": True}]
    found = target(tmp_path, service, {"canary": listed})
    with pytest.raises(TargetError, match=r"/flag answers 503 to POST: .*not now"):
        found.apply(CANARY)
    found.apply(CANARY)
    keys = [headers["idempotency-key"] for _, headers in service.requests]
    assert keys == ["model-canary-1-2-0", "model-canary-1-2-0", "model-canary-1-2-1"]


def test_a_later_request_waits_for_the_earlier(tmp_path: Path, service: Vendor) -> None:
    service.failures = [500]
    listed = [{"path": "/flag", "body": 1}, {"path": "/on", "body": True}]
    with pytest.raises(TargetError):
        target(tmp_path, service, {"canary": listed}).apply(CANARY)
    assert service.state["on"] is False


def test_headers_of_one_request_are_stronger_than_those_of_all(tmp_path: Path, service: Vendor) -> None:
    listed = [{"path": "/on", "body": True, "headers": {"Content-Type": "application/x-patch+json"}}]
    headers = {"content-type": "text/plain", "x-team": "ml"}
    target(tmp_path, service, {"canary": listed}, headers=headers).apply(CANARY)
    ((_, sent),) = service.requests
    assert (sent["content-type"], sent["x-team"]) == ("application/x-patch+json", "ml")


def test_a_secret_is_read_from_its_file_for_every_request(tmp_path: Path, service: Vendor) -> None:
    secret = {"Authorization": {"file": "token", "prefix": "Bearer "}}
    found = target(tmp_path, service, secret_headers=secret)
    with pytest.raises(TargetError, match=r"the secret in .*token cannot be read"):
        found.apply(CANARY)
    for number, state in enumerate((CANARY, BACK)):
        (tmp_path / "token").write_text(f"s3cret{number}\n")
        found.apply(state)
    assert [sent["authorization"] for _, sent in service.requests] == ["Bearer s3cret0", "Bearer s3cret1"]


@pytest.mark.parametrize("secret", ["", "two\nlines", "\x00"])
def test_a_secret_that_no_header_can_carry_is_an_error_that_does_not_show_it(
    tmp_path: Path, service: Vendor, secret: str
) -> None:
    (tmp_path / "token").write_text(secret)
    found = target(tmp_path, service, secret_headers={"x-key": {"file": "token"}})
    with pytest.raises(TargetError, match="is expected to hold a secret, on one line") as caught:
        found.apply(CANARY)
    assert "lines" not in str(caught.value)


def test_a_redirection_is_not_followed(tmp_path: Path, service: Vendor) -> None:
    service.failures = [307]
    with pytest.raises(TargetError, match="answers 307"):
        target(tmp_path, service).apply(CANARY)
    assert len(service.requests) == 1


def test_another_state_is_read_back_as_such(tmp_path: Path, service: Vendor) -> None:
    found = target(tmp_path, service)
    found.apply(CANARY)
    service.state["on"] = 1
    assert not found.read_back(CANARY)


def test_a_service_that_is_down_is_an_error(tmp_path: Path, service: Vendor) -> None:
    found = target(tmp_path, service)
    service.server_close()
    with pytest.raises(TargetError, match="does not answer"):
        found.read_back(CANARY)


HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 2000\r\n"


@pytest.mark.parametrize("before", [b"", HEAD + b"x-slow: ", HEAD + b"\r\n"], ids=["status", "head", "body"])
def test_an_answer_that_trickles_is_given_up_in_time(tmp_path: Path, service: Vendor, before: bytes) -> None:
    with trickling(before) as url:
        found = target(tmp_path, service, url=url, timeout="300ms")
        with pytest.raises(TargetError, match="does not end its answer within 300ms"):
            found.read_back(CANARY)


def test_an_answer_without_end_is_cut_off(tmp_path: Path, service: Vendor) -> None:
    service.state["on"] = "x" * MAX_ANSWER_BYTES
    with pytest.raises(TargetError, match="more than 1 MiB"):
        target(tmp_path, service).read_back(CANARY)


@pytest.mark.parametrize(
    ("dotted", "found"),
    [("a.b", 1), ("l.1.c", 2), ("l.2", None), ("a.b.c", None), ("x", None), ("l.-1", None), ("a", {"b": 1})],
)
def test_dotted_keys_lead_through_objects_and_lists(dotted: str, found: Any) -> None:
    assert value_at({"a": {"b": 1}, "l": [0, {"c": 2}]}, dotted) == found
