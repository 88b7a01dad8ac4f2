"""Alertmanager's routing tree as data: which routes an alert takes, and where they stand in the file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rollguard.errors import FileProblemsError, Problem
from rollguard.yamlfile import Document, Location, read

_MATCHER = re.compile(
    r'\s*(?P<label>[a-zA-Z_]\w*)\s*(?P<op>=~|!~|!=|=)\s*(?P<value>"(?:[^"\\]|\\.)*"|[^",}]*)'
)


@dataclass(frozen=True)
class Matcher:
    """One condition on a label; a label that is missing counts as empty."""

    label: str
    op: str
    value: str

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Return whether an alert's labels fulfil it; nothing fulfils what only Go's expressions know."""
        given = labels.get(self.label, "")
        try:
            same = given == self.value if self.op in ("=", "!=") else bool(re.fullmatch(self.value, given))
        except re.error:
            return False
        return same == (self.op in ("=", "=~"))

    def tells(self, labels: Mapping[str, str]) -> bool | str:
        """Return what two alerts must share to be the same to it."""
        try:
            re.compile(self.value)
        except re.error:
            return labels.get(self.label, "")
        return self.matches(labels)


@dataclass(frozen=True)
class Stop:
    """A route that an alert ends in.

    Args:
        location: of the route within the file.
        settings: of the route, those inherited included.
    """

    location: Location
    settings: Mapping[str, Any]

    @property
    def receiver(self) -> str:
        """Who is told."""
        return str(self.settings.get("receiver"))


class RouteTree:
    """A configuration of Alertmanager.

    Args:
        path: its file; amtool must have accepted it.
    Raises:
        FileProblemsError: it cannot be read, or is none.
    """

    def __init__(self, path: Path) -> None:
        self.document: Document = read(path)
        try:
            data = yaml.safe_load(path.read_text(encoding="utf-8"))  # aliases are allowed here
        except yaml.YAMLError as error:
            raise FileProblemsError([Problem(path, 0, "", f"is not YAML: {error}.")]) from error
        if not isinstance(data, dict) or not isinstance(data.get("route"), dict):
            raise FileProblemsError([Problem(path, 0, "", "has no route, expected Alertmanager's file.")])
        self.data: Mapping[str, Any] = data

    @property
    def receivers(self) -> Mapping[str, Mapping[str, Any]]:
        """The receivers by name."""
        return {str(receiver["name"]): receiver for receiver in self.data.get("receivers") or ()}

    def integrations(self, receiver: str) -> int:
        """Return by how many ways a receiver tells somebody."""
        found = self.receivers.get(receiver, {})
        return sum(len(value) for name, value in found.items() if name.endswith("_configs") and value)

    def stops(self, labels: Mapping[str, str]) -> list[Stop]:
        """Return the routes that an alert ends in, in order."""
        return _stops(self.data["route"], labels, ("route",), {})

    def inhibitors(self, labels: Mapping[str, str]) -> Iterator[Location]:
        """Yield the inhibition rules of which an alert may be the target."""
        for index, rule in enumerate(self.data.get("inhibit_rules") or ()):
            if all(matcher.matches(labels) for matcher in _matchers(rule, "target_")):
                yield ("inhibit_rules", index)

    def outcome(self, labels: Mapping[str, str]) -> tuple[bool | str, ...]:
        """Return what every matcher says of an alert: alerts of one outcome take the same way."""
        return tuple(matcher.tells(labels) for matcher in _all_matchers(self.data["route"]))


def _stops(
    route: Mapping[str, Any], labels: Mapping[str, str], here: Location, inherited: Mapping[str, Any]
) -> list[Stop]:
    if not all(matcher.matches(labels) for matcher in _matchers(route)):
        return []
    # What a route sets passes to those below it, but for the times in which it is mute.
    settings = {**inherited, **{key: value for key, value in route.items() if value is not None}}
    below = {key: value for key, value in settings.items() if key not in _OWN}
    found: list[Stop] = []
    for index, child in enumerate(route.get("routes") or ()):
        deeper = _stops(child, labels, (*here, "routes", index), below)
        found += deeper
        if deeper and not child.get("continue"):
            break
    return found or [Stop(here, settings)]


_OWN = (
    "routes",
    "continue",
    "matchers",
    "match",
    "match_re",
    "mute_time_intervals",
    "active_time_intervals",
)


def _all_matchers(route: Mapping[str, Any]) -> Iterator[Matcher]:
    yield from _matchers(route)
    for child in route.get("routes") or ():
        yield from _all_matchers(child)


def _matchers(part: Mapping[str, Any], prefix: str = "") -> Iterator[Matcher]:
    for label, value in (part.get(f"{prefix}match") or {}).items():
        yield Matcher(str(label), "=", str(value))
    for label, value in (part.get(f"{prefix}match_re") or {}).items():
        yield Matcher(str(label), "=~", str(value))
    for text in part.get(f"{prefix}matchers") or ():
        for found in _MATCHER.finditer(str(text).strip("{} ")):
            value = found["value"].strip()
            if value.startswith('"'):
                value = re.sub(r"\\(.)", lambda at: {"n": "\n"}.get(at[1], at[1]), value[1:-1])
            yield Matcher(found["label"], found["op"], value)
