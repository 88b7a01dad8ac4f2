"""Silences: a person's word that an alert is not to count, also while nobody can be asked about it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import msgspec

from rollguard import patterns
from rollguard.monitoring.alerts import Moment, NotificationError

log = logging.getLogger(__name__)


class Matcher(msgspec.Struct, frozen=True):
    """One condition on a label; an absent label is empty text."""

    name: str
    value: str
    isRegex: bool | None = False  # noqa: N815 - Alertmanager's names
    isEqual: bool | None = True  # noqa: N815

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Return whether labels meet it; a pattern that cannot be read matches nothing."""
        found = labels.get(self.name, "")
        wanted = self.isEqual is not False
        if not self.isRegex:
            return (found == self.value) == wanted
        return patterns.matches(self.value, found) is wanted


class _Listed(msgspec.Struct):
    matchers: list[Matcher] | None
    startsAt: Moment  # noqa: N815
    endsAt: Moment  # noqa: N815


_decoder = msgspec.json.Decoder(list[_Listed] | None)


@dataclass(frozen=True)
class Silence:
    """A silence, also one that has ended.

    Args:
        matchers: all must match; without any it covers nothing.
        starts_at: Unix seconds.
        ends_at: Unix seconds.
    """

    matchers: tuple[Matcher, ...]
    starts_at: float
    ends_at: float

    def covers(self, labels: Mapping[str, str], at: float) -> bool:
        """Return whether an alert with these labels was silent at a moment, Unix seconds."""
        in_time = self.starts_at <= at < self.ends_at
        return in_time and bool(self.matchers) and all(one.matches(labels) for one in self.matchers)


def parse_silences(body: bytes) -> tuple[Silence, ...]:
    """Return the silences of Alertmanager's ``GET /api/v2/silences``, those that ended included.

    Args:
        body: its JSON.
    Raises:
        NotificationError: it has another shape.
    """
    try:
        listed = _decoder.decode(body) or ()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NotificationError(
            "shape", f"Alertmanager's answer is not a list of silences: {error}"
        ) from error
    for one in (one for item in listed for one in item.matchers or ()):
        if one.isRegex and not patterns.readable(one.value):
            _tell(one.name, one.value)
    return tuple(
        Silence(tuple(item.matchers or ()), item.startsAt.timestamp(), item.endsAt.timestamp())
        for item in listed
    )


@lru_cache(maxsize=1000)
def _tell(name: str, pattern: str) -> None:
    """Tell once of a pattern that cannot be read, as silences are asked for every few seconds."""
    log.warning("a silence covers nothing: its pattern of %s cannot be read: %.100r", name, pattern)


def silenced(silences: Iterable[Silence], labels: Mapping[str, str], at: float) -> bool:
    """Return whether any silence covers an alert with these labels at a moment, Unix seconds."""
    return any(silence.covers(labels, at) for silence in silences)
