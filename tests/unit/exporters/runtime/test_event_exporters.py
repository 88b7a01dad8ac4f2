"""What every exporter of events keeps to: samples, broken lines, restarts, its declaration."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollguard.exporters.canary import metrics as canary_metrics
from rollguard.exporters.canary import operations
from rollguard.exporters.canary.arms import ARM_METRICS
from rollguard.exporters.canary.exporter import CanaryMeasures
from rollguard.exporters.canary.operations import MIN_OUTCOMES
from rollguard.exporters.exposition.families import Family
from rollguard.exporters.features.declaration import shipped_declaration
from rollguard.exporters.features.exporter import Features
from rollguard.exporters.measures.accumulators import MAX_LABELS
from rollguard.exporters.measures.reference import Reference
from rollguard.exporters.runtime.intake import EVENTS
from rollguard.exporters.sources.file import FileSource
from rollguard.exporters.sources.interface import Block
from rollguard.exporters.validation import metrics as validation_metrics
from rollguard.exporters.validation.exporter import Validation
from rollguard.metric import Metric

DATA = Path(__file__).parents[3] / "data"
NOW = 1763719500.0
NOWHERE = FileSource("nowhere")
REFERENCE = Reference.fit(
    {name: np.arange(-2.0, 2.0, 0.01) for name in ("spread_bps", "imbalance")}, source="a test", made_at=0
)
EXPORTERS: dict[str, Callable[[], Any]] = {
    "canary": lambda: CanaryMeasures(
        NOWHERE, window_seconds=1800.0, reference=REFERENCE, min_sample=300, clock=lambda: NOW
    ),
    "validation": lambda: Validation(NOWHERE, lambda: NOW),
    "features": lambda: Features(NOWHERE, shipped_declaration(), lambda: NOW),
}
REJECTED = "rollguard_exporter_events_rejected_total"


def shown(exporter: Any) -> dict[tuple[str, tuple[str, ...]], object]:
    """Return every sample but those of what was rejected."""
    return {
        (family.metric.name, labels): value
        for family in exporter.families(NOW)
        for labels, value in family.samples.items()
        if family.metric.name != REJECTED
    }


def rejected(exporter: Any) -> float:
    (family,) = [one for one in exporter.families(NOW) if one.metric.name == REJECTED]
    return sum(float(value) for value in family.samples.values() if isinstance(value, int | float))


def lines_of(name: str) -> list[bytes]:
    return (DATA / name).read_bytes().splitlines(keepends=True)


@pytest.mark.parametrize("name", EXPORTERS)
def test_every_recorded_line_is_taken_in(name: str) -> None:
    exporter = EXPORTERS[name]()
    exporter.feed(Block(b"".join(lines_of(f"{name}.jsonl"))))
    assert rejected(exporter) == 0
    assert exporter.newest is not None


def enough(name: str) -> Iterator[bytes]:
    """Yield recorded lines so often that each minimal sample is there: of features, by values that vary."""
    for event in map(json.loads, lines_of(f"{name}.jsonl")):
        if event.get("event") == "stage":
            event["ts"] = NOW - 1200  # drift is of the stage, and compares parts of its window
        features = event.get("features")
        if not features:
            yield (json.dumps(event).encode() + b"\n") * MIN_OUTCOMES
            continue
        for ago, value in enumerate(np.random.default_rng(1).normal(size=1200).tolist()):
            varied = {"ts": NOW - ago, "features": dict.fromkeys(features, value)}
            yield json.dumps(event | varied).encode() + b"\n"


@pytest.mark.parametrize("name", EXPORTERS)
def test_every_kind_of_metric_is_moved_by_the_recorded_lines(name: str) -> None:
    exporter, untouched = EXPORTERS[name](), EXPORTERS[name]()
    exporter.feed(Block(b"".join(enough(name))))
    before = shown(untouched)
    moved = {key[0] for key, value in shown(exporter).items() if before.get(key) != value}
    everything = {one.name for one in declared(name) if not one.name.startswith("rollguard_exporter_")}
    assert everything <= moved


@pytest.mark.parametrize(
    ("name", "line"), [(name, line) for name in EXPORTERS for line in lines_of(f"{name}-malformed.jsonl")]
)
def test_a_malformed_line_is_counted_and_moves_nothing(name: str, line: bytes) -> None:
    exporter = EXPORTERS[name]()
    exporter.feed(Block(b"".join(lines_of(f"{name}.jsonl"))))
    before = shown(exporter)
    exporter.feed(Block(line))
    assert shown(exporter) == before
    assert rejected(exporter) == 1


@pytest.mark.parametrize("name", EXPORTERS)
@given(noise=st.binary(max_size=400))
def test_no_bytes_raise_or_move_a_metric(name: str, noise: bytes) -> None:
    exporter = EXPORTERS[name]()
    exporter.feed(Block(b"".join(lines_of(f"{name}.jsonl"))))
    before = shown(exporter)
    exporter.feed(Block(noise + b"\n"))
    assert shown(exporter) == before


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=10), inside, max_size=3),
    max_leaves=5,
)


@pytest.mark.parametrize("name", EXPORTERS)
@given(data=st.data())
def test_no_value_of_a_key_raises(name: str, data: st.DataObject) -> None:
    exporter = EXPORTERS[name]()
    line = json.loads(data.draw(st.sampled_from(lines_of(f"{name}.jsonl"))))
    line[data.draw(st.sampled_from(sorted(line)))] = data.draw(JSON)
    before = shown(exporter)
    exporter.feed(Block(json.dumps(line).encode() + b"\n"))
    assert rejected(exporter) == 0 or shown(exporter) == before


@pytest.mark.parametrize("name", EXPORTERS)
def test_names_without_end_take_bounded_memory_and_are_all_counted(name: str) -> None:
    exporter = EXPORTERS[name]()
    sent = 0
    for line in map(json.loads, lines_of(f"{name}.jsonl")):
        for key in [key for key, value in line.items() if isinstance(value, str) and key != "event"]:
            lines = [json.dumps(line | {key: f"x{number}"}) for number in range(1200)]
            exporter.feed(Block("\n".join([*lines, ""]).encode()))
            sent += len(lines)
    (events,) = [one for one in exporter.families(NOW) if one.metric.name == EVENTS.name]
    assert sum(float(str(count)) for count in events.samples.values()) + rejected(exporter) == sent
    assert all(len(family.samples) <= MAX_LABELS + 1 for family in exporter.families(NOW))
    assert len(exporter.save()) < 1 << 20


@pytest.mark.parametrize("name", EXPORTERS)
def test_a_restart_after_any_line_changes_nothing(name: str) -> None:
    lines = lines_of(f"{name}.jsonl")
    whole = EXPORTERS[name]()
    whole.feed(Block(b"".join(lines)))
    for cut in range(len(lines) + 1):
        first, second = EXPORTERS[name](), EXPORTERS[name]()
        first.feed(Block(b"".join(lines[:cut])))
        second.restore(first.save())
        second.feed(Block(b"".join(lines[cut:])))
        assert shown(second) == shown(whole), cut


@pytest.mark.parametrize(("name", "state"), list(product(EXPORTERS, [b"", b"[]", b'{"intake": 1}'])))
def test_what_is_no_state_is_refused_and_nothing_is_known_then(name: str, state: bytes) -> None:
    exporter = EXPORTERS[name]()
    with pytest.raises(ValueError, match=r".*"):
        exporter.restore(state)
    assert shown(exporter) == shown(EXPORTERS[name]())


@pytest.mark.parametrize("name", EXPORTERS)
def test_a_state_with_a_broken_tally_is_refused_whole(name: str) -> None:
    exporter = EXPORTERS[name]()
    exporter.feed(Block(b"".join(lines_of(f"{name}.jsonl"))))
    for part in ("operations", "arms") if name == "canary" else ("",):
        state = json.loads(exporter.save())
        tallies = (state[part] if part else state)["tallies"]
        tallies[list(tallies)[-1]] = {"n": "?"} if name == "validation" or part == "arms" else 7
        other = EXPORTERS[name]()
        with pytest.raises(ValueError, match=r".*"):
            other.restore(json.dumps(state).encode())
        assert shown(other) == shown(EXPORTERS[name]())


def declared(name: str) -> tuple[Metric, ...]:
    if name == "validation":
        return validation_metrics.METRICS
    if name == "canary":
        return canary_metrics.METRICS + operations.OPERATIONS_METRICS + ARM_METRICS
    return tuple(
        replace(offered, labels=("rollout", *offered.labels))
        for one in shipped_declaration().metrics
        for offered in one.offered()
    )


@pytest.mark.parametrize("name", EXPORTERS)
def test_what_is_served_is_what_is_declared(name: str) -> None:
    served = [family.metric for family in EXPORTERS[name]().families(NOW)]
    own = [metric for metric in served if not metric.name.startswith("rollguard_exporter_")]
    known = [metric for metric in declared(name) if not metric.name.startswith("rollguard_exporter_")]
    assert set(own) == set(known)
    assert len(served) == len(set(served))


@pytest.mark.parametrize("name", EXPORTERS)
def test_samples_have_the_labels_of_their_metric(name: str) -> None:
    exporter = EXPORTERS[name]()
    exporter.feed(Block(b"".join(lines_of(f"{name}.jsonl"))))
    families: Iterable[Family] = exporter.families(NOW)
    assert all(len(labels) == len(one.metric.labels) for one in families for labels in one.samples)
