from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rollguard.exporters.canary.exporter import canary
from rollguard.exporters.measures.reference import Reference, ReferenceError

if TYPE_CHECKING:
    from tests.unit.clock import Time
from tests.unit.exporters.conftest import Samples


def test_it_reads_the_reference(clock: Time, samples: Samples, reference: Reference, tmp_path: Path) -> None:
    reference.save(tmp_path / "reference.json")
    line = f'{{"event":"score","ts":{clock.now},"slot":"active","score":1,"features":{{"spread":0}}}}\n'
    (tmp_path / "events.jsonl").write_text(line)
    exporter = canary(str(tmp_path / "events.jsonl"), reference=tmp_path / "reference.json", clock=clock)
    source = exporter.inputs()[0].source
    block = source.read().records
    assert block is not None
    exporter.feed(block)
    assert 'drift_effective_sample{feature="spread"}' in samples(exporter.families(clock.now))


def test_a_reference_that_is_missing_stops_it_at_once(clock: Time, tmp_path: Path) -> None:
    with pytest.raises(ReferenceError, match=r"gone\.json"):
        canary("events.jsonl", reference=tmp_path / "gone.json", clock=clock)
