"""Alertmanager's routing tree as data: which routes an alert takes, and where they stand in the file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rollguard.errors import FileProblemsError, Problem
from rollguard.generators.alertmanager.matchers import Matcher, parse_matchers
from rollguard.yamlfile import Document, Location, read


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


class _Loader(yaml.SafeLoader):
    """Reads every scalar but null as its text, as Go reads a label's value: true, 0x10 and 1.10 stay so."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - the library's name
        first: [(tag, pattern) for tag, pattern in known if tag.endswith((":null", ":merge"))]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def is_true(found: str | None) -> bool:
    """Return whether a scalar means true to Alertmanager."""
    return (found or "").lower() in ("true", "yes", "on", "y")


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
            data = _Loader(path.read_text(encoding="utf-8")).get_single_data()  # aliases are allowed here
        except yaml.YAMLError as error:
            raise FileProblemsError([Problem(path, 0, "", f"is not YAML: {error}.")]) from error
        if not isinstance(data, dict) or not isinstance(data.get("route"), dict):
            raise FileProblemsError([Problem(path, 0, "", "has no route, expected Alertmanager's file.")])
        self.data: Mapping[str, Any] = data
        if problems := [
            self.document.problem(location, f"cannot be read: {why}.", 'Write label="value".')
            for location, why in self._unreadable()
        ]:
            raise FileProblemsError(problems)

    def _unreadable(self) -> Iterator[tuple[Location, str]]:
        yield from _unreadable(self.data["route"], ("route",))
        for index, rule in enumerate(self.data.get("inhibit_rules") or ()):
            yield from _unreadable(rule, ("inhibit_rules", index), "target_")

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
        """Yield the inhibition rules of which an alert may be the target, as far as can be told."""
        for index, rule in enumerate(self.data.get("inhibit_rules") or ()):
            target = _matchers(rule, "target_")
            if all(matcher.matches(labels) or not matcher.readable for matcher in target):
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
        if deeper and not is_true(child.get("continue")):
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
    for key, op in (("match", "="), ("match_re", "=~")):
        for label, value in (part.get(f"{prefix}{key}") or {}).items():
            yield Matcher(label, op, value or "")
    for text in part.get(f"{prefix}matchers") or ():
        yield from parse_matchers(text or "")


def _unreadable(part: Mapping[str, Any], here: Location, prefix: str = "") -> Iterator[tuple[Location, str]]:
    """Yield where a matcher stands that is none, and why, in a route and below it, or in an inhibition."""
    for index, text in enumerate(part.get(f"{prefix}matchers") or ()):
        try:
            parse_matchers(text or "")
        except ValueError as error:
            yield (*here, f"{prefix}matchers", index), str(error)
    for index, child in enumerate(part.get("routes") or ()):
        yield from _unreadable(child, (*here, "routes", index), prefix)
