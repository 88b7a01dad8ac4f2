"""What is wrong between the keys of targets, and between them and the stages; looks at raw data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rollguard.errors import Problem
from rollguard.spec.targets import PLACES
from rollguard.yamlfile import Document, Location

_EVERY_STATE = (
    ("yaml-file", "values"),
    ("env-file", "values"),
    ("json-file", "values"),
    ("redis-stream", "modes"),
    ("http", "send"),
    ("http", "read", "expect"),
)
"""Mappings that must say what every state means."""

_SOME_STATES = (
    ("command", "run"),
    ("verify", "log", "states"),
    ("verify", "command", "run"),
    ("verify", "http", "expect"),
)
"""Mappings and lists that may speak of any state, and of nothing else."""


def check(
    document: Document, targets: Sequence[Mapping[str, Any]], stages: Sequence[Any]
) -> Iterator[Problem]:
    """Yield what is wrong with the targets of a file.

    Args:
        document: the file.
        targets: as they are in the file, each at least a mapping.
        stages: the names of the stages.
    """
    known: list[tuple[str, object]] = []
    for index, target in enumerate(targets):
        here: Location = ("targets", index)
        for kind, key in PLACES.items():
            body = target.get(kind)
            place = (kind, body.get(key) if isinstance(body, dict) else None)
            if place[1] is not None and place in known:
                message = f"is {place[1]}, as in an earlier target."
                yield document.problem((*here, kind, key), message, "Make one of the two.")
            known.append(place)
        if stages:
            yield from _check_states(document, here, target, ["fallback", *map(str, stages)])
        yield from _check_overlap(document, (*here, "json-file", "values"), target)


def _check_states(
    document: Document, here: Location, target: Mapping[str, Any], states: Sequence[str]
) -> Iterator[Problem]:
    for path in (*_EVERY_STATE, *_SOME_STATES):
        given = _at(target, path)
        if not isinstance(given, dict | list):
            continue
        if path in _EVERY_STATE:
            for state in states:
                if state not in given:
                    hint = "A target says what every stage and the fallback mean."
                    message = "is missing, expected what it means."
                    yield document.problem((*here, *path, state), message, hint)
        for index, state in enumerate(given):
            if state not in states:
                place = index if isinstance(given, list) else state
                expected = f"expected one of {', '.join(states)}."
                yield document.problem((*here, *path, place), f"is not a state, {expected}")


def _check_overlap(document: Document, here: Location, target: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield the keys that lie within the value of another key of the same state."""
    values = _at(target, ("json-file", "values"))
    for state, given in values.items() if isinstance(values, dict) else ():
        for key in given if isinstance(given, dict) else ():
            outer = next((other for other in given if str(key).startswith(f"{other}.")), None)
            if outer is not None:
                message = f"lies within {outer}, expected one value for each place."
                yield document.problem((*here, state, key), message, f"Write it into {outer}.")


def _at(target: Mapping[str, Any], path: Sequence[str]) -> Any:
    found: Any = target
    for part in path:
        found = found.get(part) if isinstance(found, dict) else None
    return found
