"""Days and hours of a time zone, holidays, freezes: when a rollout may advance, and when its time counts."""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta
from typing import Annotated, Literal, TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, model_validator

from rollguard.spec.fields import Listed, Model, Text


def instant_seconds(text: str) -> int:
    """Return the Unix seconds of a moment such as ``2026-01-05T09:00:00+01:00``.

    Raises:
        ValueError: it is none, or has no time zone.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ValueError("expected a moment with its time zone, such as 2026-01-05T09:00:00+01:00")
    return int(moment.timestamp())


def _checked_instant(text: str) -> str:
    instant_seconds(text)
    return text


Instant = Annotated[
    str,
    AfterValidator(_checked_instant),
    Field(json_schema_extra={"examples": ["2026-01-05T09:00:00+01:00"]}),
]
"""A field of the rollout file, kept as it is written."""


DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
Day: TypeAlias = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("expected a time zone such as Europe/Berlin or UTC") from None
    return name


def _hours(text: str) -> str:
    begin, end = hours(text)
    if begin >= end:
        raise ValueError("expected the end after the beginning, such as 09:00-17:00")
    return text


def hours(text: str) -> tuple[time, time]:
    """Return begin and end of hours such as ``09:00-17:00``; ``24:00`` ends a day.

    Raises:
        ValueError: they are in another form.
    """
    form = re.fullmatch("([0-9]{2}:[0-9]{2})-([0-9]{2}:[0-9]{2})", text)
    try:
        if form is None:
            raise ValueError(text)
        begin, end = form.groups()
        last = time.max if end == "24:00" else time.fromisoformat(end)
        return time.fromisoformat(begin), last
    except ValueError:
        raise ValueError("expected hours such as 09:00-17:00") from None


def _day(text: str) -> str:
    try:
        if date.fromisoformat(text).isoformat() == text:  # it has more forms, which would match no day
            return text
    except ValueError:
        pass
    raise ValueError("expected a day such as 2026-12-25")


class Window(Model):
    """Days and hours by the clock of a time zone, but for holidays."""

    days: Listed[Day] = Field(("mon", "tue", "wed", "thu", "fri"), min_length=1)
    hours: Annotated[str, AfterValidator(_hours)] = Field("00:00-24:00", description="By the zone's clock.")
    zone: Annotated[str, AfterValidator(_zone)] = Field(description="Time zone, such as Europe/Berlin.")
    holidays: Listed[Annotated[str, AfterValidator(_day)]] = Field((), description="Days off.")

    def open_at(self, now: float) -> bool:
        """Return whether it is open at a moment, Unix seconds."""
        here = datetime.fromtimestamp(now, ZoneInfo(self.zone))
        begin, end = hours(self.hours)
        off = here.date().isoformat() in self.holidays
        return DAYS[here.weekday()] in self.days and not off and begin <= here.time() < end

    def open_within(self, begin: float, end: float) -> list[tuple[float, float]]:
        """Return begins and ends of the parts of a time in which it is open, Unix seconds."""
        zone = ZoneInfo(self.zone)
        opens, closes = hours(self.hours)
        found: list[tuple[float, float]] = []
        day, last = (datetime.fromtimestamp(moment, zone).date() for moment in (begin, end))
        while day <= last:
            following = day + timedelta(days=1)
            if DAYS[day.weekday()] in self.days and day.isoformat() not in self.holidays:
                until = datetime.combine(
                    *((following, time.min) if closes == time.max else (day, closes)), zone
                )
                part = datetime.combine(day, opens, zone).timestamp(), until.timestamp()
                part = max(begin, part[0]), min(end, part[1])
                if found and found[-1][1] == part[0]:
                    part = found.pop()[0], part[1]
                found += [part] if part[0] < part[1] else []
            day = following
        return found

    def __str__(self) -> str:
        return f"{', '.join(self.days)} {self.hours} {self.zone}"


class Freeze(Model):
    """A time in which nothing starts or advances, by hand either; a rollback always may."""

    begin: Instant = Field(alias="from", description="With its time zone.")
    until: Instant = Field(description="With its time zone.")
    why: Text

    @model_validator(mode="after")
    def _in_order(self) -> Freeze:
        if instant_seconds(self.begin) >= instant_seconds(self.until):
            raise ValueError("expected from before until")
        return self

    def covers(self, now: float) -> bool:
        """Return whether a moment, Unix seconds, is within it."""
        return instant_seconds(self.begin) <= now < instant_seconds(self.until)
