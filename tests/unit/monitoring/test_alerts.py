"""What Alertmanager says: read whole where it can be, refused in words where it cannot."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollguard.monitoring.alerts import NotificationError, parse_listed, parse_webhook, unsilenced

ALERT: dict[str, Any] = {
    "status": "firing",
    "labels": {"alertname": "ErrorsHigh", "guard": "Errors", "rollout": "shop", "severity": "critical"},
    "annotations": {"summary": "Errors."},
    "startsAt": "2023-11-14T22:13:20Z",
    "endsAt": "0001-01-01T00:00:00Z",
    "generatorURL": "http://p",
    "fingerprint": "abc",
}


def webhook(*alerts: Any, **keys: Any) -> bytes:
    return json.dumps({"version": "4", "status": "firing", "alerts": list(alerts), **keys}).encode()


def without(alert: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in alert.items() if key not in keys}


def reason_of(body: bytes) -> str:
    with pytest.raises(NotificationError) as error:
        parse_webhook(body)
    return error.value.reason


# Webhook


def test_an_alert_is_read_with_all_that_a_decision_needs() -> None:
    (alert,) = parse_webhook(webhook(ALERT)).alerts
    assert (alert.rollout, alert.guard, alert.firing, alert.starts_at, alert.fingerprint) == (
        "shop",
        "Errors",
        True,
        1_700_000_000.0,
        "abc",
    )
    assert alert.annotations == {"summary": "Errors."}


@pytest.mark.parametrize(
    ("url", "query"),
    [
        ("http://p:9090/graph?g0.expr=x%7Brollout%3D%22a%22%7D+%3E+1&g0.tab=1", 'x{rollout="a"} > 1'),
        ("http://p:9090/alerts", ""),
        ("http://[g0.expr=", ""),
        ("", ""),
        (None, ""),
        (3, ""),
    ],
)
def test_the_query_of_an_alert_is_that_of_its_link(url: Any, query: str) -> None:
    assert parse_webhook(webhook({**ALERT, "generatorURL": url})).alerts[0].query == query


def test_an_alert_without_a_guard_goes_by_its_name() -> None:
    labels = without(ALERT["labels"], "guard")
    assert parse_webhook(webhook({**ALERT, "labels": labels})).alerts[0].guard == "ErrorsHigh"


def test_an_alert_without_a_rollout_is_of_none() -> None:
    assert parse_webhook(webhook({**ALERT, "labels": {}})).alerts[0].rollout == ""


def test_each_alert_has_its_own_status() -> None:
    found = parse_webhook(webhook(ALERT, {**ALERT, "status": "resolved"}, status="firing"))
    assert [alert.firing for alert in found.alerts] == [True, False]


def test_unknown_keys_of_newer_versions_are_accepted() -> None:
    found = parse_webhook(webhook({**ALERT, "silenceURL": "x", "n": [1]}, notificationReason="x"))
    assert len(found.alerts) == 1


def test_alerts_that_alertmanager_left_out_are_counted() -> None:
    assert parse_webhook(webhook(ALERT, truncatedAlerts=7)).truncated == 7


def test_an_older_alertmanager_says_nothing_of_truncation() -> None:
    assert parse_webhook(webhook(ALERT)).truncated == 0


def test_alerts_without_a_fingerprint_are_told_apart_by_their_labels() -> None:
    bare = without(ALERT, "fingerprint")
    other = {**bare, "labels": {**bare["labels"], "route": "canary"}}
    turned = {**bare, "labels": dict(reversed(bare["labels"].items()))}
    one, two, three = (alert.fingerprint for alert in parse_webhook(webhook(bare, other, turned)).alerts)
    assert one != two
    assert one == three


@pytest.mark.parametrize(
    "broken",
    [
        3,
        None,
        [],
        {},
        {**ALERT, "status": "pending"},
        {**ALERT, "labels": {"rollout": 3}},
        {**ALERT, "startsAt": "yesterday"},
        {**ALERT, "startsAt": "2023-11-14T22:13:20"},
        {**ALERT, "startsAt": "0001-01-01T00:00:00"},
        {**ALERT, "startsAt": 1700000000},
        without(ALERT, "startsAt"),
        without(ALERT, "labels"),
    ],
    ids=repr,
)
def test_a_broken_alert_hides_no_other(broken: object) -> None:
    found = parse_webhook(webhook(ALERT, broken, ALERT))
    assert (len(found.alerts), len(found.broken)) == (2, 1)


@pytest.mark.parametrize("key", ["annotations", "fingerprint", "generatorURL"])
@pytest.mark.parametrize("odd", [None, 3, [], {"summary": None, "n": 3}], ids=repr)
def test_what_no_decision_needs_may_be_anything(key: str, odd: Any) -> None:
    (alert,) = parse_webhook(webhook({**ALERT, key: odd}, truncatedAlerts=None)).alerts
    assert (alert.rollout, alert.guard, alert.firing) == ("shop", "Errors", True)
    (alert,) = parse_listed(json.dumps([{**ALERT, "status": None, key: odd}]).encode()).alerts
    assert (alert.rollout, alert.guard, alert.firing) == ("shop", "Errors", True)


def test_a_label_that_is_null_is_missing() -> None:
    labels = {**ALERT["labels"], "guard": None}
    found = parse_webhook(webhook({**ALERT, "labels": labels}, {**ALERT, "labels": None})).alerts
    assert [(alert.rollout, alert.guard) for alert in found] == [("shop", "ErrorsHigh"), ("", "")]


def test_an_alert_that_is_silenced_is_known_without_a_fingerprint() -> None:
    told = {**ALERT, "fingerprint": None, "status": {"silencedBy": ["x"]}}
    assert unsilenced([parse_listed(json.dumps([told]).encode())]) == []


def test_a_list_that_is_null_is_empty() -> None:
    assert parse_listed(b"null").alerts == ()


@pytest.mark.parametrize(
    "moment", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59", "2023-11-14T23:13:20.123456789+01:00"]
)
def test_any_moment_with_its_zone_is_read(moment: str) -> None:
    assert len(parse_webhook(webhook({**ALERT, "startsAt": moment})).alerts) == 1


@pytest.mark.parametrize("body", [b"", b"not JSON", b"{", b"\xff\xfe", b'{"version": "4", "alerts": [}'])
def test_what_is_not_json_is_refused(body: bytes) -> None:
    assert reason_of(body) == "syntax"


@pytest.mark.parametrize(
    "body",
    [
        b"3",
        b"null",
        b"[]",
        b"{}",
        b'{"version": "4"}',
        b'{"version": 4, "alerts": []}',
        b'{"version": "4", "alerts": {}}',
        b'{"version": "4", "alerts": null}',
        b'{"version": "4", "alerts": [], "truncatedAlerts": "many"}',
    ],
)
def test_another_shape_is_refused(body: bytes) -> None:
    assert reason_of(body) == "shape"


@pytest.mark.parametrize("version", ["3", "5", "", "04"])
def test_another_version_is_refused(version: str) -> None:
    assert reason_of(webhook(ALERT, version=version)) == "version"


def test_a_notification_of_nothing_is_read() -> None:
    assert parse_webhook(webhook()).alerts == ()


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
_ODD_ALERT = st.fixed_dictionaries(
    {},
    optional={
        "status": st.sampled_from(["firing", "resolved", "x"]) | _JSON,
        "labels": st.dictionaries(st.sampled_from(["rollout", "guard", "x"]), st.text() | _JSON) | _JSON,
        "startsAt": st.sampled_from(["2023-11-14T22:13:20Z", "0001-01-01T00:00:00"]) | st.text() | _JSON,
        "annotations": st.dictionaries(st.text(), st.text()) | _JSON,
        "fingerprint": st.text() | _JSON,
    },
)


@settings(deadline=None)
@given(st.lists(_ODD_ALERT, max_size=3), _JSON)
def test_no_alert_brings_anything_but_a_notification(alerts: list[Any], extra: Any) -> None:
    found = parse_webhook(webhook(*alerts, more=extra))
    assert len(found.alerts) + len(found.broken) == len(alerts)


@settings(deadline=None)
@given(st.binary(max_size=200) | _JSON.map(lambda data: json.dumps(data).encode()))
def test_no_body_brings_anything_but_a_refusal(body: bytes) -> None:
    assert reason_of(body) in {"syntax", "shape", "version"}


@pytest.mark.parametrize("body", [b"[" * 100_000, webhook()[:-1] + b', "x": ' + b"[" * 100_000])
def test_deep_nesting_is_refused(body: bytes) -> None:
    assert reason_of(body) in {"syntax", "shape"}


# Alertmanager's list

LISTED: dict[str, Any] = {
    **without(ALERT, "status"),
    "receivers": [{"name": "rollguard"}],
    "status": {"state": "active", "silencedBy": [], "inhibitedBy": []},
    "updatedAt": "2023-11-14T22:13:21Z",
}


SILENCED = {**LISTED, "status": {"state": "suppressed", "silencedBy": ["x"], "inhibitedBy": []}}


def listed(*alerts: Any) -> bytes:
    return json.dumps(alerts).encode()


def test_what_alertmanager_lists_fires() -> None:
    (alert,) = parse_listed(listed(LISTED)).alerts
    assert (alert.firing, alert.guard, alert.fingerprint) == (True, "Errors", "abc")


def test_a_listed_alert_is_the_same_as_the_notified_one() -> None:
    assert parse_listed(listed(LISTED)).alerts == parse_webhook(webhook(ALERT)).alerts


def test_a_silence_is_a_persons_word() -> None:
    assert unsilenced([parse_listed(listed(SILENCED))]) == []


def test_an_alert_of_two_alertmanagers_is_one() -> None:
    assert len(unsilenced([parse_listed(listed(LISTED)), parse_listed(listed(LISTED))])) == 1


def test_what_one_of_two_alertmanagers_lists_counts() -> None:
    assert len(unsilenced([parse_listed(listed()), parse_listed(listed(LISTED))])) == 1


def test_what_one_of_two_alertmanagers_has_silenced_does_not_count() -> None:
    assert unsilenced([parse_listed(listed(LISTED)), parse_listed(listed(SILENCED))]) == []


def test_an_inhibited_alert_counts() -> None:
    inhibited = {**LISTED, "status": {"state": "suppressed", "silencedBy": [], "inhibitedBy": ["x"]}}
    assert len(unsilenced([parse_listed(listed(inhibited))])) == 1


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"<html>", b"[3]", listed(without(LISTED, "startsAt")), b"\xff"]
)
def test_another_answer_is_refused(body: bytes) -> None:
    with pytest.raises(NotificationError, match="Alertmanager's answer is not a list of alerts"):
        parse_listed(body)
