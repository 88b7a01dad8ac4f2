"""A file of environment variables: values are replaced in place, `export`, quotes and comments are kept."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rollguard.errors import Problem
from rollguard.spec.fields import Value
from rollguard.targets.interface import TargetError
from rollguard.targets.values_file import ValuesFileTarget

_ASSIGNMENT = re.compile(
    r"\ufeff?[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)[ \t]*=(?:[ \t]*(?![ \t#]))?"
)
_PLAIN = re.compile(r"[A-Za-z0-9_./:,=@%+-]*")
_UNQUOTED = re.compile(r"(?:(?![ \t]+#)[^\r\n])*?(?=[ \t]*(?:[ \t]#|[\r\n]|$))")
_AFTER = re.compile(r"[ \t]*(?:[ \t]#|[\r\n]|$)")
_LINE = re.compile(r"[^\n]*\n?")


class EnvFileTarget(ValuesFileTarget):
    """Writes what a state means into a file of environment variables."""

    KEYS = "variables"

    def others(self, content: bytes, values: Mapping[str, Value]) -> set[str]:
        """Return the variables that have another value."""
        return {place.key for place in self._differing(self._text(content), values)}

    def spliced(self, content: bytes, values: Mapping[str, Value]) -> bytes:
        """Return the text with the values that differ replaced."""
        text = self._text(content)
        differing = self._differing(text, values)
        for place in sorted(differing, key=lambda place: -place.start):
            text = (
                text[: place.start] + _rendered(_as_text(values[place.key]), place.quote) + text[place.end :]
            )
        return text.encode()

    def _differing(self, text: str, values: Mapping[str, Value]) -> list[_Place]:
        """Return where the variables stand that have another value; each must be there once."""
        places: dict[str, _Place] = {}
        for place in _places(text):
            if place.key in values and place.key in places:
                raise self._error(place.line, place.key, "is given twice.", "Keep one of the two.")
            places[place.key] = place
        for key in values:
            if key not in places:
                raise self._error(0, key, "is missing.", f"Add {key}= there; only values are replaced.")
            self._require_alone(text, places[key])
        found = (places[key] for key in values)
        return [place for place in found if not place.reads_as(text, _as_text(values[place.key]))]

    def _require_alone(self, text: str, place: _Place) -> None:
        if place.end < 0 or "\n" in text[place.start : place.end]:
            raise self._error(place.line, place.key, "is over several lines, expected a value on one line.")
        if place.quote and not _AFTER.match(text, place.end):
            raise self._error(place.line, place.key, "goes on after its quotes, expected one value.")

    def _text(self, content: bytes) -> str:
        try:
            text = content.decode()
        except UnicodeDecodeError as error:
            raise TargetError(f"{self.path} is not UTF-8 text.") from error
        if "\0" in text:
            raise TargetError(f"{self.path} is not text: it holds a NUL.")
        return text

    def _error(self, line: int, key: str, message: str, hint: str = "") -> TargetError:
        return TargetError(str(Problem(self.path, line, key, message, hint)))


@dataclass(frozen=True)
class _Place:
    """A value in the text, quotes included; its end is -1 where its quote is never closed."""

    key: str
    line: int
    start: int
    end: int
    quote: str

    def reads_as(self, text: str, value: str) -> bool:
        """Return whether every reader of such files takes it for a value."""
        source = text[self.start : self.end]
        return source == _rendered(value, self.quote)


def _places(text: str) -> Iterator[_Place]:
    """Yield every assignment; what stands within a quoted value of several lines is none."""
    at, line = 0, 1
    while at < len(text):
        found = _ASSIGNMENT.match(text, at)
        end = at
        if found:
            start, quote = found.end(), text[found.end() : found.end() + 1]
            end = _closing(text, start) if quote in ("'", '"') else _end_of_plain(text, start)
            yield _Place(found.group(1), line, start, end, quote if quote in ("'", '"') else "")
        rest = _LINE.match(text, max(end, at))
        assert rest
        line += text.count("\n", at, rest.end())
        at = rest.end()


def _closing(text: str, start: int) -> int:
    """Return the index after a quoted value, or -1."""
    at = start + 1
    while at < len(text):
        if text[at] == text[start]:
            return at + 1
        at += 2 if text[at] == "\\" else 1
    return -1


def _end_of_plain(text: str, start: int) -> int:
    found = _UNQUOTED.match(text, start)
    assert found
    return found.end()


def _as_text(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _rendered(value: str, quote: str) -> str:
    """Return a value as it is to stand: quoted as so far where that says the same to every reader."""
    if not quote and _PLAIN.fullmatch(value):
        return value
    if "'" not in value and (quote != '"' or set(value) & set('"$`')):
        return f"'{value}'"
    return f'"{value}"'
