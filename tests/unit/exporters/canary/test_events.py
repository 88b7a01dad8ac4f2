from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import msgspec

from rollguard.exporters.canary import metrics, operations
from rollguard.exporters.canary.arms import ARM_METRICS
from rollguard.exporters.canary.events import KINDS, Event, schema
from rollguard.exporters.canary.exporter import CanaryMeasures
from rollguard.exporters.exposition import text as exposition
from rollguard.exporters.measures.assignments import LeftOut
from rollguard.exporters.measures.reference import Reference
from rollguard.exporters.runtime import health, intake
from rollguard.exporters.runtime.decoding import REASONS
from rollguard.exporters.sources.file import FileSource
from rollguard.metric import Metric

DOCS = Path(__file__).parents[4] / "docs"
TEXT = (DOCS / "events.md").read_text()
EXAMPLES = [line for block in re.findall(r"```json\n(.*?)```", TEXT, re.S) for line in block.splitlines()]


def test_the_schema_in_the_docs_is_that_of_the_code() -> None:
    renew = "python -m rollguard.exporters.canary.events > docs/events.schema.json"
    assert (DOCS / "events.schema.json").read_bytes() == schema(), renew


def test_the_docs_show_every_event_as_it_is_read() -> None:
    decoded = [msgspec.json.decode(line, type=Event) for line in EXAMPLES]
    assert {type(event) for event in decoded} == set(get_args(Event))


def test_the_examples_use_every_key_and_no_other() -> None:
    def keys(event: dict[str, Any]) -> set[tuple[str, str]]:
        return {(event["event"], key) for key in event}

    shown = set().union(*(keys(msgspec.json.decode(line)) for line in EXAMPLES))
    known = {
        (str(kind.__struct_config__.tag), key)
        for kind in get_args(Event)
        for key in ("event", *kind.__struct_encode_fields__)
    }
    assert shown == known


def test_the_docs_name_every_reason_and_kind() -> None:
    for name in (*REASONS, *KINDS):
        assert f"`{name}`" in TEXT


def test_the_docs_name_every_metric_with_its_labels_and_no_other() -> None:
    own = (*metrics.METRICS, *operations.OPERATIONS_METRICS, *ARM_METRICS)
    offered = {written(metric) for metric in (*own, *intake.METRICS)}
    section = TEXT.split("\n## Metrics")[1].split("## The reference")[0]
    assert set(re.findall(r"`([a-z_0-9]+(?:\{[a-z,]+\})?)`", section)) - {"value", "won", "lost"} == offered


def test_what_is_exposed_is_what_is_offered(reference: Reference) -> None:
    source = FileSource("events.jsonl")
    measures = CanaryMeasures(source, window_seconds=60, reference=reference, min_sample=300, clock=float)
    exposed = {family.metric for family in measures.families(0)}
    assert exposed == {*metrics.METRICS, *operations.OPERATIONS_METRICS, *ARM_METRICS, *intake.METRICS}


def test_the_docs_name_the_health_of_every_exporter() -> None:
    text = (DOCS / "exporters.md").read_text(encoding="utf-8")
    section = text.split("## Health")[1].partition("\n## ")[0]
    offered = {written(metric) for metric in (*health.METRICS, exposition.LEFT_OUT)}
    assert set(re.findall(r"`(rollguard_[a-z_]+(?:\{[a-z,]+\})?)`", section)) == offered


def test_the_docs_name_every_reason_for_leaving_an_event_out() -> None:
    section = TEXT.split("\n## Arms")[1].partition("\n## ")[0]
    assert set(re.findall(r"^\| `([a-z_]+)` \|", section, re.M)) == {*LeftOut} - {LeftOut.NOT_SPLIT}


def written(metric: Metric) -> str:
    return metric.name + (f"{{{','.join(metric.labels)}}}" if metric.labels else "")
