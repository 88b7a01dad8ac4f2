"""Alertmanager's matchers, read as it reads them: in the classic form, and since 0.27 with quoted labels."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rollguard import patterns

_CLASSIC = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(=~|=|!=|!~)\s*(.*)", re.ASCII | re.DOTALL)
_SPACE = " \t\n\r\f\v"

_WORD = r"""[^\s{}!=~,\\"'`]+"""
_QUOTED = r'"(?:[^"\\\n]|\\.)*"'
_UTF8 = re.compile(rf"\s*({_QUOTED}|{_WORD})\s*(=~|=|!=|!~)\s*({_QUOTED}|{_WORD})\s*")
_ESCAPE = re.compile(
    r'\\(?:([abfnrtv\\"])|x([0-7][0-9a-fA-F])|([01][0-7]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|())'
)
_NAMED = dict(zip('abfnrtv\\"', '\a\b\f\n\r\t\v\\"', strict=True))


@dataclass(frozen=True)
class Matcher:
    """One condition on a label; a label that is missing counts as empty."""

    label: str
    op: str
    value: str

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Return whether an alert's labels fulfil it; nothing fulfils a pattern that cannot be read."""
        given = labels.get(self.label, "")
        if self.op in ("=", "!="):
            return (given == self.value) == (self.op == "=")
        return patterns.matches(self.value, given) is (self.op == "=~")

    @property
    def readable(self) -> bool:
        """Whether it can be told what fulfils it."""
        return self.op in ("=", "!=") or patterns.readable(self.value)

    def tells(self, labels: Mapping[str, str]) -> bool | str:
        """Return what two alerts must share to be the same to it."""
        return self.matches(labels) if self.readable else labels.get(self.label, "")


def parse_matchers(text: str) -> list[Matcher]:
    """Return the matchers of an entry of ``matchers``; as in Alertmanager, the classic form goes first.

    Args:
        text: such as ``severity="critical"``, ``{a=b, c!~"d|e"}`` or ``"service.name"="shop"``.
    Raises:
        ValueError: it is of neither form.
    Source: https://prometheus.io/docs/alerting/latest/configuration/#matcher
    """
    try:
        return list(_classic(text))
    except ValueError:
        return list(_utf8(text))


def _classic(text: str) -> Iterator[Matcher]:
    for item in _classic_items(text.removeprefix("{").removesuffix("}")):
        found = _CLASSIC.fullmatch(item.strip(_SPACE))
        if found is None:
            raise ValueError(f"{item!r} is no matcher")
        yield Matcher(found[1], found[2], _classic_value(found[3]))


def _classic_items(text: str) -> list[str]:
    """Return what stands between commas, but for those within quotation marks."""
    items, inside, escaped = [""], False, False
    for letter in text:
        if letter == "," and not inside:
            items.append("")
            continue
        if letter == '"' and not escaped:
            inside = not inside
        if letter != ",":
            escaped = letter == "\\" and not escaped
        items[-1] += letter
    return items if items[-1].strip() else items[:-1]


def _classic_value(text: str) -> str:
    """Return what a value means; what is no escape stands for itself."""
    closed, escaped, value = not text.startswith('"'), False, ""
    inner = text if closed else text[1:]
    for position, letter in enumerate(inner, 1):
        if escaped:
            escaped = False
            value += "\n" if letter == "n" else letter if letter in '"\\' else f"\\{letter}"
        elif letter == "\\" and position < len(inner):
            escaped = True
        elif letter == '"':
            if closed or position < len(inner):
                raise ValueError(f"{text} has a quotation mark that is not escaped")
            closed = True
        else:
            value += letter
    if not closed:
        raise ValueError(f"{text} has no second quotation mark")
    return value


def _utf8(text: str) -> Iterator[Matcher]:
    rest = text.strip()
    if rest.startswith("{") != rest.endswith("}"):
        raise ValueError(f"{text!r} has one brace")
    rest = rest.removeprefix("{").removesuffix("}").strip()
    while rest:
        found = _UTF8.match(rest)
        rest = rest[found.end() :] if found else rest
        if found is None or not (rest == "" or rest.startswith(",")):
            raise ValueError(f"{text!r} is no matcher")
        yield Matcher(_unquoted(found[1]), found[2], _unquoted(found[3]))
        rest = rest[1:].strip()


def _unquoted(text: str) -> str:
    """Return what a string of Go means; a word stands for itself."""
    return _ESCAPE.sub(_character, text[1:-1]) if text.startswith('"') else text


def _character(found: re.Match[str]) -> str:
    named, byte, octal, *wide, unknown = found.groups()
    if unknown is not None:
        raise ValueError(f"{found.string!r} has an escape that is none")
    if named:
        return _NAMED[named]
    return chr(int(byte or wide[0] or wide[1], 16) if octal is None else int(octal, 8))
