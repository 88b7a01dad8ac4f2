"""Errors: one base, one subclass per boundary; a problem is data, and only the command line prints it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_LOGIN = re.compile(
    r"""(://)(?!\w*:\*\*\*@)(?:
    (?<=http://)[^\s/?#"<>]*              # of HTTP also a name alone, which may be a token
    | (?<=https://)[^\s/?#"<>]*
    | [^\s/?#"<>:]*:[^\s/?#"<>]*
    | [^\s/?#"<>:@]+:(?!\d+[/?#])[^\s"<>@]*  # a password with a slash
    )@""",
    re.IGNORECASE | re.VERBOSE,
)
_SECRET_OPTION = re.compile(r"([?&](?:\w*password|passwd|\w*token|\w*secret|api_?key)=)[^\s&#\"'<>]+", re.I)


def without_login(text: str, instead: str = "…@") -> str:
    """Return text in which no URL has a user's name and password, nor a password among its options.

    Args:
        text: a URL, or anything that may hold some: an error, a line of a log.
        instead: stands for what is left out before the host.
    """
    if "://" not in text:
        return text
    return _SECRET_OPTION.sub(r"\1…", _LOGIN.sub(rf"\1{instead}", text))


class RollguardError(Exception):
    """Something that the person at the keyboard can mend; its text is shown without a traceback."""

    def __str__(self) -> str:
        return without_login(super().__str__())


@dataclass(frozen=True, order=True)
class Problem:
    """One mistake in one place of a file.

    Args:
        path: the file.
        line: its line, counted from 1; 0 where the whole file is meant.
        key: dotted path of the key, such as ``guards[0].with.delta_ratio``.
        message: what is there and what was expected, without the key.
        hint: how to mend it; may be empty.
    """

    path: Path
    line: int
    key: str
    message: str
    hint: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", without_login(self.message))

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}" if self.line else str(self.path)
        text = f"{place}: {self.key} {self.message}".replace(":  ", ": ")
        return f"{text}\n  {self.hint}" if self.hint else text


class FileProblemsError(RollguardError):
    """Every mistake that was found in the files of one kind, before anything was done with them."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems))
        super().__init__("\n".join(map(str, self.problems)))
