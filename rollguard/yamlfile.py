"""Reading YAML 1.2 safely, with the line of every key: `on` is text, duplicate keys are refused."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from rollguard.errors import FileProblemsError, Problem

_PREFIX = "tag:yaml.org,2002:"
MAX_BYTES = 1 << 20
_DEEPEST = 100
"""How deep values may be nested: whoever reads them calls itself for each level."""

_MOST_VALUES = 50_000
"""How many keys, values and items a file may have: what is wrong with each is told."""

Location = tuple[str | int, ...]
"""Path from the root to a value: keys and list indexes."""


class _Loader(yaml.SafeLoader):
    """PyYAML's scanner and parser with the scalars of YAML 1.2's core schema."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012


class _FastLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The same by libyaml, where there is one: four times as fast, with poorer words for mistakes."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012


class _Dumper(yaml.SafeDumper):
    """Quotes what either version of YAML takes for something else than text: `on` by 1.1, `1e5` by 1.2."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _tag, _pattern, _first in (
    ("null", r"|~|null|Null|NULL", ["", "~", "n", "N"]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
     list("-+.0123456789")),
):  # fmt: skip
    for _any in (_Loader, _FastLoader, _Dumper):
        _any.add_implicit_resolver(f"{_PREFIX}{_tag}", re.compile(f"(?:{_pattern})$"), _first)


@dataclass(frozen=True)
class Document:
    """A YAML file as plain data, with the line of every key and list item.

    Args:
        path: where it was read.
        data: dictionaries, lists and scalars.
        lines: line of each location, counted from 1.
        problems: duplicate keys, aliases and odd tags; whoever reads the data reports them with its own.
    """

    path: Path
    data: Any
    lines: dict[Location, int] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    def line_of(self, location: Location) -> int:
        """Return the line of a location, or of its nearest ancestor that the file has."""
        while location and location not in self.lines:
            location = location[:-1]
        return self.lines.get(location, 1)

    def problem(self, location: Location, message: str, hint: str = "") -> Problem:
        """Return a problem at a location of this file."""
        return Problem(self.path, self.line_of(location), dotted(location), message, hint)


def dotted(location: Location) -> str:
    """Return a location as a person writes it: ``guards[0].with.delta_ratio``."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.lstrip(".") or "the file"


def shown(value: object) -> str:
    """Return a value of a file as an error shows it, shortened."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if value is None:
        return "empty"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return (text if len(text) <= 60 else text[:57] + "...") or '""'


def read(path: Path) -> Document:
    """Return a YAML file as a document.

    Args:
        path: a file of at most 1 MiB, UTF-8.
    Returns:
        Its only document.
    Raises:
        FileProblemsError: it cannot be read or is not YAML.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise FileProblemsError(
                [Problem(path, 0, "", "is over 1 MiB, too large for a file written by hand.")]
            )
        return parse(path, content.decode())
    except OSError as error:
        raise FileProblemsError([Problem(path, 0, "", f"cannot be read: {error.strerror}.")]) from error
    except UnicodeDecodeError as error:
        raise FileProblemsError([Problem(path, 0, "", "is not UTF-8 text.")]) from error


def dump(data: Mapping[str, Any]) -> str:
    """Return YAML text that `read` reads back as the same data; keys keep their order."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def parse(path: Path, text: str) -> Document:
    """Return YAML text as a document; like `read`, for text at hand."""
    try:
        node = _compose(path, text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 0
        hint = "Indent with spaces." if "'\\t'" in str(error.problem) else ""
        raise FileProblemsError([Problem(path, line, "", f"is not YAML: {error.problem}.", hint)]) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        message = f"is not YAML: the character U+{error.character:04X} may not stand in it."
        raise FileProblemsError([Problem(path, line, "", message)]) from error
    except (ValueError, OverflowError) as error:  # PyYAML makes a character of the number, whatever it is
        message = "is not YAML: an escape in it names no character."
        raise FileProblemsError([Problem(path, 0, "", message)]) from error
    builder = _Builder(Document(path, None))
    data = builder.build(node, ()) if node else None
    return Document(path, data, builder.document.lines, tuple(builder.problems))


def _compose(path: Path, text: str) -> yaml.Node | None:
    with suppress(yaml.YAMLError, ValueError, OverflowError):
        _require_small(path, text)
        return yaml.compose(text, Loader=_FastLoader)
    return yaml.compose(text, Loader=_Loader)


def _require_small(path: Path, text: str) -> None:
    """Raise FileProblemsError where too much is nested or listed; reading events alone keeps none of it."""
    depth = values = 0
    for event in yaml.parse(text, Loader=_FastLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        values += isinstance(event, yaml.NodeEvent)
        line = event.start_mark.line + 1 if event.start_mark else 0
        if depth > _DEEPEST:
            raise FileProblemsError([Problem(path, line, "", f"is nested over {_DEEPEST} deep.")])
        if values > _MOST_VALUES:
            raise FileProblemsError([Problem(path, line, "", f"has over {_MOST_VALUES:,} keys and values.")])


class _Builder:
    """Turns nodes into plain data and notes their lines."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.problems: list[Problem] = []
        self._loader = _Loader("")
        self._seen: set[int] = set()

    def build(self, node: yaml.Node, location: Location) -> Any:
        self.document.lines.setdefault(location, node.start_mark.line + 1)
        if id(node) in self._seen:
            self._report(
                location, "is an alias, expected the value itself.", "Write it out; rollouts stay short."
            )
            return None
        self._seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            return dict(self._items(node, location))
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*location, index)) for index, item in enumerate(node.value)]
        return self._scalar(node, location)

    def _items(self, node: yaml.MappingNode, location: Location) -> Iterator[tuple[str, Any]]:
        known: set[str] = set()
        for key_node, value_node in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else "?"
            here = (*location, key)
            self.document.lines[here] = key_node.start_mark.line + 1
            if key in known:
                self._report(here, "is given twice.", "Keep one of the two.")
            known.add(key)
            yield key, self.build(value_node, here)

    def _scalar(self, node: yaml.Node, location: Location) -> Any:
        kind = node.tag.removeprefix(_PREFIX)
        try:
            if kind == "int":
                return self._whole(int(node.value), location)
            if kind in {"str", "null", "bool", "float"}:
                return self._loader.construct_object(node)
        except (yaml.YAMLError, ValueError, KeyError):
            pass
        self._report(location, f"is {shown(node.value)} with the tag {node.tag}, expected a plain value.")
        return None

    def _whole(self, number: int, location: Location) -> int | None:
        if number.bit_length() <= 64:
            return number
        self._report(location, f"is {shown(number)}, expected a number that fits into 64 bits.")
        return None

    def _report(self, location: Location, message: str, hint: str = "") -> None:
        self.problems.append(self.document.problem(location, message, hint))
