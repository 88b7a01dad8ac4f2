"""What Alertmanager says, by its webhook and by its API: guards that fire or have resolved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias
from urllib.parse import parse_qs, urlsplit

import msgspec

from rollguard.conventions import GUARD_LABEL, ROLLOUT_LABEL, RUN_LABEL
from rollguard.errors import RollguardError, without_login

MAX_BYTES = 1 << 20
VERSION = "4"

Moment: TypeAlias = Annotated[datetime, msgspec.Meta(tz=True)]
"""A time without its zone could mean any hour."""

Labels: TypeAlias = dict[str, str | None] | None
"""Labels as JSON has them: null is none at all."""


class NotificationError(RollguardError):
    """A payload is not what Alertmanager's webhook sends."""

    def __init__(self, reason: str, text: str) -> None:
        self.reason = reason
        super().__init__(text)


@dataclass(frozen=True)
class GuardAlert:
    """One alert, as far as a decision needs it.

    Args:
        rollout: the label ``rollout``; empty where it has none.
        guard: the label ``guard``, or the alert's name where it has none.
        firing: whether it fires; False when resolved.
        starts_at: when it began to fire, Unix seconds by Prometheus's clock.
        fingerprint: Alertmanager's hash of its labels.
        labels: all of them.
        annotations: all of them.
        query: the expression that it rests on, as Prometheus has it; empty where that was not told.
    """

    rollout: str
    guard: str
    firing: bool
    starts_at: float
    fingerprint: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    query: str = ""

    def counts_in(self, run: int) -> bool:
        """Return whether it is of a run, or of whatever is on."""
        return self.labels.get(RUN_LABEL) in {None, str(run)}


@dataclass(frozen=True)
class Notification:
    """A webhook's payload.

    Args:
        alerts: those that could be read.
        broken: what was wrong with each of the others.
        truncated: how many more Alertmanager left out.
    """

    alerts: tuple[GuardAlert, ...]
    broken: tuple[str, ...] = ()
    truncated: int = 0


class _Payload(msgspec.Struct):
    version: str
    alerts: list[msgspec.Raw]
    truncatedAlerts: int | None = 0  # noqa: N815 - Alertmanager's name


class _Told(msgspec.Struct):
    labels: Labels
    startsAt: Moment  # noqa: N815
    # What follows is of no matter to a decision, whatever it is.
    annotations: Any = None
    fingerprint: Any = None
    generatorURL: Any = None  # noqa: N815


class _Alert(_Told, kw_only=True):
    status: Literal["firing", "resolved"]


class _ListedStatus(msgspec.Struct):
    silencedBy: list[str] | None = None  # noqa: N815


class _Listed(_Told):
    status: _ListedStatus | None = None


_payload = msgspec.json.Decoder(_Payload)
_alert = msgspec.json.Decoder(_Alert)
_listed = msgspec.json.Decoder(list[_Listed] | None)


def parse_webhook(body: bytes) -> Notification:
    """Return what a webhook's payload says; an alert that cannot be read does not hide the others.

    Args:
        body: JSON in Alertmanager's webhook version 4.
    Raises:
        NotificationError: it is not JSON (reason ``syntax``), has another shape (``shape``) or version.
    Source: https://prometheus.io/docs/alerting/latest/configuration/#webhook_config
    """
    try:
        payload = _payload.decode(body)
    except msgspec.ValidationError as error:
        raise NotificationError("shape", f"the payload is not a webhook's: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NotificationError("syntax", f"the payload is not JSON: {error}") from error
    if payload.version != VERSION:
        raise NotificationError(
            "version", f'the payload\'s version is {payload.version!r}, expected "{VERSION}"'
        )
    alerts, broken = [], []
    for raw in payload.alerts:
        try:
            alert = _alert.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            broken.append(str(error))
            continue
        alerts.append(_guard_alert(alert, alert.status == "firing"))
    return Notification(tuple(alerts), tuple(broken), max(payload.truncatedAlerts or 0, 0))


@dataclass(frozen=True)
class Listing:
    """What an Alertmanager lists.

    Args:
        alerts: all that fire.
        silenced: the fingerprints of those that are silenced.
    """

    alerts: tuple[GuardAlert, ...]
    silenced: frozenset[str]


def unsilenced(listings: Iterable[Listing]) -> list[GuardAlert]:
    """Return the alerts of several Alertmanagers, each once, but for those that one of them has silenced."""
    known = list(listings)
    silenced = frozenset[str]().union(*(listing.silenced for listing in known))
    found = {alert.fingerprint: alert for listing in known for alert in listing.alerts}
    return [alert for alert in found.values() if alert.fingerprint not in silenced]


def parse_listed(body: bytes) -> Listing:
    """Return what ``GET /api/v2/alerts`` says, asked for silenced alerts, too.

    Args:
        body: its JSON.
    Raises:
        NotificationError: it has another shape.
    """
    try:
        listed: Iterable[_Listed] = _listed.decode(body) or ()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NotificationError("shape", f"Alertmanager's answer is not a list of alerts: {error}") from error
    alerts, silenced = [], set()
    for told in listed:
        alert = _guard_alert(told, True)
        alerts.append(alert)
        if told.status and told.status.silencedBy:
            silenced.add(alert.fingerprint)
    return Listing(tuple(alerts), frozenset(silenced))


def guard_alert(
    labels: Mapping[str, str],
    annotations: Mapping[str, str],
    starts_at: float,
    *,
    firing: bool = True,
    fingerprint: str = "",
    query: str = "",
) -> GuardAlert:
    """Return an alert by its labels, which also stand in for a fingerprint that was not told.

    What goes into the ledger and to people has no login of a URL.
    """
    return GuardAlert(
        rollout=labels.get(ROLLOUT_LABEL, ""),
        guard=labels.get(GUARD_LABEL) or labels.get("alertname", ""),
        firing=firing,
        starts_at=starts_at,
        fingerprint=fingerprint or msgspec.json.encode(labels, order="sorted").decode(),
        labels=labels,
        annotations={key: without_login(text) for key, text in annotations.items()},
        query=without_login(query),
    )


def texts(found: object) -> dict[str, str]:
    """Return what is text among labels or annotations, whatever else came in their place."""
    given = found.items() if isinstance(found, dict) else ()
    return {key: value for key, value in given if isinstance(value, str)}


def _guard_alert(told: _Told, firing: bool) -> GuardAlert:
    return guard_alert(
        texts(told.labels),
        texts(told.annotations),
        told.startsAt.timestamp(),
        firing=firing,
        fingerprint=told.fingerprint if isinstance(told.fingerprint, str) else "",
        query=_query_of(told.generatorURL),
    )


def _query_of(url: object) -> str:
    """Return the expression that Prometheus's link to its graph shows; empty for anything else."""
    if not isinstance(url, str) or "g0.expr=" not in url:
        return ""
    try:
        return parse_qs(urlsplit(url).query).get("g0.expr", [""])[0]
    except ValueError:
        return ""
