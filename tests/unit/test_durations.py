"""Durations: Prometheus's form at the edge, seconds inside, and nothing lost between the two."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from rollguard import durations
from rollguard.spec.fields import Duration

FIELD = TypeAdapter(Duration)
HALF_A_CENTURY_MS = 50 * 365 * 86_400_000


@given(st.integers(0, HALF_A_CENTURY_MS))
def test_what_was_rendered_is_parsed_to_the_same(milliseconds: int) -> None:
    assert durations.parse(durations.render(milliseconds / 1000)) == milliseconds / 1000


@given(st.integers(0, HALF_A_CENTURY_MS))
def test_what_was_rendered_passes_the_schema_that_editors_use(milliseconds: int) -> None:
    pattern = FIELD.json_schema()["pattern"]
    assert re.search(pattern, durations.render(milliseconds / 1000))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("0s", 0.0),
        ("15s", 15.0),
        ("500ms", 0.5),
        ("1h30m", 5400.0),
        ("1d", 86400.0),
        ("2w", 1_209_600.0),
        ("1y", 31_536_000.0),
        ("1s500ms", 1.5),
        ("90m", 5400.0),
    ],
)
def test_a_duration_of_prometheus_is_read(text: str, seconds: float) -> None:
    assert durations.parse(text) == seconds


@pytest.mark.parametrize("text", ["", "90", "0.5s", "1m1h", "1 h", "-5m", "1h ", "h", "5M", "\u0661s", "1\n"])
def test_what_prometheus_refuses_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a duration such as"):
        durations.parse(text)


@pytest.mark.parametrize("text", ["300y", "9" * 30 + "s", "9" * 5000 + "ms"])
def test_what_prometheus_cannot_count_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="at most 292 years"):
        durations.parse(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0s"), (0.25, "250ms"), (1.5, "1s500ms"), (1_209_600.0, "14d"), (0.2004, "200ms")],
)
def test_the_shortest_mixed_form_is_rendered(seconds: float, text: str) -> None:
    assert durations.render(seconds) == text


@pytest.mark.parametrize("value", [90, 1.5, True, None, ["1h"]])
def test_a_field_needs_its_unit(value: object) -> None:
    with pytest.raises(ValidationError, match="expected a duration with its unit"):
        FIELD.validate_python(value)


def test_a_field_takes_zero_without_a_unit() -> None:
    assert FIELD.validate_python(0) == 0.0


def test_a_field_is_written_as_it_is_read() -> None:
    assert FIELD.dump_python(FIELD.validate_python("1h30m")) == "1h30m"
