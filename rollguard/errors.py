"""Errors: one base, one subclass per boundary; a problem is data, and only the command line prints it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


class RollguardError(Exception):
    """Something that the person at the keyboard can mend; its text is shown without a traceback."""


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

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}" if self.line else str(self.path)
        text = f"{place}: {self.key} {self.message}".replace(":  ", ": ")
        return f"{text}\n  {self.hint}" if self.hint else text


class FileProblemsError(RollguardError):
    """Every mistake that was found in the files of one kind, before anything was done with them."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems))
        super().__init__("\n".join(map(str, self.problems)))
