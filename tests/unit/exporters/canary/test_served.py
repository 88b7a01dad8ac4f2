"""A reference taken from events."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rollguard.exporters.canary.served import reference_of
from rollguard.exporters.measures.reference import ReferenceError


def score(value: float | None, *, served: str = "candidate", slot: str = "active") -> str:
    event = {
        "event": "score",
        "ts": 1,
        "slot": slot,
        "score": 0.5,
        "served": served,
        "features": {"x": value},
    }
    return json.dumps(event)


def write(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def test_it_counts_served_rows_and_passes_over_shadow_missing_and_broken_ones(tmp_path: Path) -> None:
    lines = [score(float(number)) for number in range(300)]
    extra = [score(9e9, slot="shadow"), "no json", score(None)]
    reference = reference_of([write(tmp_path / "events.jsonl", lines + extra)], variant=None, made_at=7)
    assert sum(reference.features["x"].counts) == 300
    assert len(reference.features["x"].counts) == 10
    assert reference.source == "events.jsonl"


def test_a_variant_leaves_out_what_the_other_one_served(tmp_path: Path) -> None:
    lines = [score(float(number)) for number in range(300)] + [score(-1.0, served="active")] * 300
    reference = reference_of([write(tmp_path / "e", lines)], variant="candidate", made_at=7)
    assert reference.rows == 300
    assert reference.source == "e, served by candidate"


@pytest.mark.parametrize("lines", [[], [score(1.0, slot="shadow")] * 400])
def test_events_without_features_are_refused(tmp_path: Path, lines: list[str]) -> None:
    with pytest.raises(ReferenceError, match="no score"):
        reference_of([write(tmp_path / "e", lines)], variant=None, made_at=7)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReferenceError, match="missing"):
        reference_of([tmp_path / "missing"], variant=None, made_at=7)
