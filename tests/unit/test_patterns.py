"""Patterns of strangers, and texts: what cannot be read is told apart from what does not match."""

from __future__ import annotations

import pytest

from rollguard import patterns

HALF = "\ud800"
"""Half of a character beyond the 65,536 first: YAML may spell it, UTF-8 has no bytes for it."""


@pytest.mark.parametrize(("pattern", "text"), [(HALF, "x"), ("x.*", f"x{HALF}"), ("(", "(")])
def test_what_cannot_be_read_neither_matches_nor_differs(pattern: str, text: str) -> None:
    assert patterns.matches(pattern, text) is None


@pytest.mark.parametrize(("pattern", "text", "found"), [("a.c", "abc", True), ("a.c", "abcd", False)])
def test_a_pattern_is_of_the_whole_text(pattern: str, text: str, found: bool) -> None:
    assert patterns.matches(pattern, text) is found
