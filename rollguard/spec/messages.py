"""Errors of the schema in plain words, with line, key and hint."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from rollguard import durations
from rollguard.errors import Problem
from rollguard.spec.fields import PATTERNS_IN_WORDS
from rollguard.yamlfile import Document, Location, dotted, shown

_PLAIN_WORDS: Mapping[str, str] = {
    "a valid dictionary.*": "a mapping of keys",
    "a valid ": "a ",
    "a integer": "a whole number",
    "tuple": "list",
    ".* should have (at .*?)( after validation, not .*)?$": r"\1",
}
"""Pydantic's words (regular expressions), and what a person who writes YAML calls it."""


_MOST_PROBLEMS = 200
"""So many mistakes of one file are translated; the rest shows once these are mended."""


_LIMITS: Mapping[str, str] = {
    "greater_than": "more than {}",
    "greater_than_equal": "{} or more",
    "less_than_equal": "{} or less",
}


def translated(document: Document, error: ValidationError, model: type[BaseModel]) -> Iterator[Problem]:
    """Yield pydantic's errors as problems, one for each place: a union reports each of its members.

    Args:
        document: the file.
        error: what its model says of it.
        model: of the whole file; its keys are what is known.
    """
    found: dict[Location, ErrorDetails] = {}
    kinds: dict[Location, set[str]] = {}
    for details in error.errors():
        if details["type"] == "too_short" and len(details["input"]) >= details["ctx"]["min_length"]:
            continue  # the list has items enough; each that is wrong is reported by itself
        location = _in_file(document, details["loc"])
        kinds.setdefault(location, set()).add(details["type"])
        if location in found:
            plain = "string_type" in kinds[location]
            words = "a plain value: text, a number, true or false" if plain else "a number"
            details["type"], details["msg"] = "union", words
        found[location] = details
    unread = {problem.key for problem in document.problems}
    renamed = _renamed(found)
    for location, details in islice(found.items(), _MOST_PROBLEMS):
        if location in renamed:
            continue  # the wrong key is reported, with this one as its hint
        if details["input"] is None and dotted(location) in unread:
            continue  # an alias or an odd tag, which is reported as such
        yield _translate(document, location, details, model)


def _renamed(found: Mapping[Location, ErrorDetails]) -> set[Location]:
    """Return the missing keys that are there under a name that is nearly right."""
    missing = {location for location, details in found.items() if details["type"] == "missing"}
    renamed: set[Location] = set()
    for location, details in found.items():
        if details["type"] == "extra_forbidden":
            beside = [str(other[-1]) for other in missing if other[:-1] == location[:-1]]
            near = difflib.get_close_matches(str(location[-1]), beside, n=1)
            renamed |= {(*location[:-1], name) for name in near}
    return renamed


def _translate(
    document: Document, location: Location, details: ErrorDetails, model: type[BaseModel]
) -> Problem:
    kind, context = details["type"], details.get("ctx", {})
    if kind == "missing":
        return document.problem(location, "is missing, expected a value.", "Add the key.")
    if kind == "extra_forbidden":
        hint = _nearest(str(location[-1]), location[:-1], model)
        return document.problem(location, "is not a known key.", hint)
    value = _value_at(document, location, details["input"])
    if kind == "string_pattern_mismatch":
        expected = PATTERNS_IN_WORDS.get(context["pattern"], f"text that matches {context['pattern']}")
    elif kind in _LIMITS:
        expected = _limit(value, kind, context)
    else:
        expected = details["msg"].removeprefix("Value error, ").removeprefix("Input should ")
        expected = expected.removeprefix("expected ").removeprefix("be ")
        for words, plain in _PLAIN_WORDS.items():
            expected = re.sub(words, plain, expected)
    hint = _hint(location, value, kind, context)
    return document.problem(location, f"is {shown(value)}, expected {expected}.", hint)


def _hint(location: Location, value: object, kind: str, context: Mapping[str, Any]) -> str:
    """Return how to mend a value, where more can be said than what is expected."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind == "string_type" and isinstance(value, bool | int | float):
        return "Put it in quotes."
    if kind == "literal_error":
        near = difflib.get_close_matches(str(value), re.findall(r"'([^']*)'", context["expected"]), n=1)
        return f"Did you mean {near[0]}?" if near else ""
    if kind == "value_error" and number and "a duration with its unit" in str(context.get("error")):
        whole = isinstance(value, int)
        return f"Write {value}s, {value}m or {value}h." if whole else "Write whole units, such as 1h30m."
    return "Write 10 for a tenth, 100 for everybody." if location[-1:] == ("percent",) else ""


def _limit(value: object, kind: str, context: Mapping[str, Any]) -> str:
    ((_, limit),) = context.items()
    return _LIMITS[kind].format(durations.render(limit) if isinstance(value, str) else f"{limit:g}")


def _in_file(document: Document, parts: Sequence[str | int]) -> Location:
    """Drop what pydantic adds to a location: the members of unions, and `[key]` of mappings."""
    location: Location = ()
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        if (*location, part) in document.lines or (last and not _is_union_member(part)):
            location = (*location, part)
    return location


def _is_union_member(part: str | int) -> bool:
    text = str(part)
    return text in {"bool", "int", "float", "str", "[key]"} or "[" in text


def _value_at(document: Document, location: Location, default: object) -> object:
    """Return what the file has at a location: a duration as it is written, not in seconds."""
    value = document.data
    for part in location:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return default
    return value


@cache
def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema()


def _nearest(key: str, parent: Location, model: type[BaseModel]) -> str:
    """Return a hint with the known key that is nearest to a wrong one."""
    known = sorted(_known_keys(parent, model))
    near = difflib.get_close_matches(key, known, n=1)
    return f"Did you mean {near[0]}?" if near else f"Known here: {', '.join(known)}."


def _known_keys(parent: Location, model: type[BaseModel]) -> Iterable[str]:
    whole = _schema(model)
    schema = _resolved(whole, whole)
    for part in parent:
        inside = schema.get("items") if isinstance(part, int) else schema.get("properties", {}).get(part)
        schema = _resolved(inside or schema.get("additionalProperties") or {}, whole)
    return tuple(schema.get("properties", {}))


def _resolved(schema: Mapping[str, Any], whole: Mapping[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        return _resolved(whole["$defs"][schema["$ref"].rsplit("/", 1)[1]], whole)
    for option in schema.get("anyOf", ()):
        found = _resolved(option, whole)
        if found.get("properties") or found.get("items"):
            return found
    return dict(schema)
