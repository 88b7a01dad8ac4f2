"""Patterns of strangers, read by RE2 as Alertmanager reads them, in time linear in the text."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import re2

_OPTIONS = re2.Options()
_OPTIONS.log_errors = False  # to stderr, past the log
_OPTIONS.max_mem = 1 << 20  # bytes of each pattern; what needs more is matched more slowly, or refused
_KEPT = 128


def matches(pattern: str, text: str) -> bool | None:
    """Return whether a pattern is of a whole text; None where either cannot be read, as half of a character.

    Source: https://github.com/google/re2/wiki/Syntax
    """
    compiled = _compiled(pattern)
    try:
        return None if compiled is None else compiled.fullmatch(text) is not None
    except UnicodeError:
        return None


def readable(pattern: str) -> bool:
    """Return whether it can be told what a pattern matches."""
    return _compiled(pattern) is not None


@lru_cache(maxsize=_KEPT)
def _compiled(pattern: str) -> Any:
    try:
        return re2.compile(pattern, _OPTIONS)
    except (re2.error, UnicodeError):
        return None
