"""A YAML file of the application: values are replaced in place, every other byte is kept."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rollguard import yamlfile
from rollguard.errors import FileProblemsError, Problem
from rollguard.spec.fields import Value
from rollguard.targets.interface import TargetError
from rollguard.targets.values_file import ValuesFileTarget

_FastLoader: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml where PyYAML has it: ten times as fast, but its marks of plain scalars end elsewhere."""

_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*")
_AMBIGUOUS = re.compile(r"[-+.~=<0-9].*|(?i:y|n|yes|no|on|off|true|false|null)")
"""Text that some reader takes for a number, a date, a boolean or nothing unless it is quoted."""


class YamlFileTarget(ValuesFileTarget):
    """Writes what a state means into an application's YAML file; keys are dotted."""

    def spliced(self, content: bytes, values: Mapping[str, Value]) -> bytes:
        """Return the text with the values that differ replaced."""
        return _Document(self.path, content).with_values(values).encode()

    def others(self, content: bytes, values: Mapping[str, Value]) -> Collection[str]:
        """Return the keys that have another value, or one that YAML 1.1 and 1.2 do not read alike."""
        return _Document(self.path, content).differing(values)


@dataclass(frozen=True)
class _Place:
    """A scalar in the text: from start to end, quoted as `style` says."""

    start: int
    end: int
    style: str | None


class _Document:
    """A YAML text and the places of its scalars."""

    def __init__(self, path: Path, content: bytes) -> None:
        self._path = path
        try:
            self.text = content.decode()
            self._root = yaml.compose(self.text, Loader=yaml.SafeLoader)
        except UnicodeDecodeError as error:
            raise TargetError(f"{path} is not UTF-8 text.") from error
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            what = ", ".join(filter(None, (error.context, error.problem)))
            raise self._error(mark.line + 1 if mark else 0, "", f"is not YAML: {what}.") from error
        except (yaml.YAMLError, RecursionError) as error:
            raise TargetError(f"{path} is not YAML: {error}.") from error

    def differing(self, values: Mapping[str, Value]) -> dict[str, _Place]:
        """Return the places of the keys that have another value."""
        places = {key: self._find(key) for key in values}
        return {
            key: place
            for key, place in places.items()
            if not _reads_as(self.text[place.start : place.end], values[key])
        }

    def with_values(self, values: Mapping[str, Value]) -> str:
        """Return the text with other values, and nothing else changed."""
        places = self.differing(values)
        text = self.text
        rendered: list[str] = []
        for key, place in sorted(places.items(), key=lambda item: -item[1].start):
            rendered.insert(0, self._rendered(key, values[key], place))
            text = text[: place.start] + rendered[0] + text[place.end :]
        if places:
            self._require_only(text, rendered)
        return text

    def _find(self, key: str) -> _Place:
        """Return the place of a dotted key; refuse what is not a plain scalar of its own."""
        node, above = self._root, 0
        parts = key.split(".")
        for depth, part in enumerate(parts):
            here = ".".join(parts[: depth + 1])
            node, above = self._child(node, part, here, above)
        assert node is not None
        if not isinstance(node, yaml.ScalarNode):
            raise self._refused(node, key, "a mapping or list", "a single value")
        if node.style in ("|", ">"):
            raise self._refused(node, key, "a block of text", "a value on one line")
        return _Place(node.start_mark.index, node.end_mark.index, node.style)

    def _child(self, node: yaml.Node | None, part: str, here: str, above: int) -> tuple[yaml.Node, int]:
        if not isinstance(node, yaml.MappingNode):
            raise self._error(above, here, "is missing.", f"Add {part}: there; only values are replaced.")
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                raise self._refused(key_node, here, "beside a merge key (<<)", "keys written out")
        found = [pair for pair in node.value if pair[0].value == part]
        if not found:
            line = node.start_mark.line + 1
            raise self._error(line, here, "is missing.", f"Add {part}: there; only values are replaced.")
        if len(found) > 1:
            raise self._refused(found[1][0], here, "given twice", "one of the two")
        key_node, value_node = found[0]
        self._require_own(key_node, value_node, here)
        return value_node, key_node.start_mark.line + 1

    def _require_own(self, key_node: yaml.Node, node: yaml.Node, here: str) -> None:
        """Refuse an alias, which composes to a node further up, and what carries an anchor or a tag."""
        if node.start_mark.index < key_node.end_mark.index:
            raise self._refused(key_node, here, "an alias", "a value of its own")
        if self.text[node.start_mark.index : node.start_mark.index + 1] in ("&", "!"):
            raise self._refused(node, here, "anchored or tagged", "a plain value")

    def _rendered(self, key: str, value: Value, place: _Place) -> str:
        rendered = render(value, place.style)
        if not _reads_as(rendered, value):
            raise TargetError(f"{self._path}: {key} cannot be {value!r}: readers of YAML would not agree.")
        if place.start == place.end and self.text[place.start - 1] == ":":
            return " " + rendered
        return rendered

    def _require_only(self, text: str, rendered: Sequence[str]) -> None:
        """Hold a new text against the old: these scalars must be in it, and nothing else be new."""
        try:
            pairs = list(zip(_events(self.text), _events(text), strict=True))
        except (yaml.YAMLError, ValueError) as error:
            raise TargetError(f"{self._path} would no longer be the same YAML: {error}.") from error
        changed = [new for old, new in pairs if old != new]
        if changed != [event for source in rendered for event in _events(source)[2:3]]:
            raise TargetError(f"{self._path}: the values cannot be replaced without touching the rest.")

    def _refused(self, node: yaml.Node, key: str, found: str, expected: str) -> TargetError:
        return self._error(node.start_mark.line + 1, key, f"is {found}, expected {expected}.")

    def _error(self, line: int, key: str, message: str, hint: str = "") -> TargetError:
        return TargetError(str(Problem(self._path, line, key, message, hint)))


def _events(text: str) -> list[tuple[object, ...]]:
    """Return what a parser sees; the third event of a lone scalar is the scalar itself."""
    parts = ("value", "anchor", "tag", "style")
    return [
        (type(event), *(getattr(event, part, None) for part in parts))
        for event in yaml.parse(text, Loader=_FastLoader)
    ]


def _reads_as(source: str, value: Value) -> bool:
    """Return whether readers of YAML 1.1 and of 1.2 take a scalar's text for a value, type included."""
    if source == value and _AMBIGUOUS.fullmatch(source):
        return False
    try:
        readings = (yaml.safe_load(source), yamlfile.parse(Path(), source).data)
    except (yaml.YAMLError, FileProblemsError, ValueError):
        return False
    return all(type(found) is type(value) and repr(found) == repr(value) for found in readings)


def render(value: Value, style: str | None = None) -> str:
    """Return a scalar's text, such that readers of YAML 1.1 and of 1.2 agree about it.

    Args:
        value: text, or a finite number, or a boolean.
        style: the quote that text stands in so far; None for none.
    Returns:
        One line; text that either version might take for something else is quoted.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        text = repr(value)
        return text if "." in text else text.replace("e", ".0e")
    if isinstance(value, int):
        return str(value)
    if style is None and _PLAIN.fullmatch(value) and not _AMBIGUOUS.fullmatch(value):
        return value
    quote = '"' if style is None or "\n" in value else style
    dumped = yaml.safe_dump(value, default_style=quote, allow_unicode=True, width=float("inf"))
    return str(dumped).rstrip("\n")
