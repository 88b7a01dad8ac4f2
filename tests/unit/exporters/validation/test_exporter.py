"""A validation's recorded events have known answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from rollguard.exporters.sources.file import FileSource
from rollguard.exporters.sources.interface import Block
from rollguard.exporters.validation import events
from rollguard.exporters.validation.exporter import Validation
from tests.unit.exporters.conftest import Samples

DATA = Path(__file__).parents[3] / "data" / "validation.jsonl"
SCHEMA = Path(__file__).parents[4] / "docs" / "validation.schema.json"
NOW = 1763719500.0


@pytest.fixture
def exporter() -> Validation:
    found = Validation(FileSource("nowhere"), lambda: NOW)
    found.feed(Block(DATA.read_bytes()))
    return found


def test_counters_are_those_of_the_recorded_events(exporter: Validation, samples: Samples) -> None:
    found = samples(exporter.families(NOW))
    expected = {
        'signals_total{check="condition",reason="",result="pass",signal="BASE_ENTRY"}': 2,
        'signals_total{check="condition",reason="stale",result="fail",signal="PYRAMID"}': 1,
        'signals_total{check="execution",reason="divergence",result="fail",signal="PYRAMID"}': 1,
        'signals_total{check="execution",reason="",result="fail",signal="EXIT"}': 0,
        "signals_stale_passed_total": 1,
        "signal_risk_extreme_total": 1,
        "signal_processing_errors_total": 1,
        'signal_false_positive_total{check="condition"}': 1,
        'signal_false_positive_total{check="execution"}': 0,
        'executions_total{result="success",strategy="simple_limit"}': 1,
        'executions_total{result="timeout",strategy="simple_limit"}': 1,
        'executions_total{result="error",strategy="progressive"}': 1,
        'executions_total{result="success",strategy="progressive"}': 0,
        "broker_api_duration_seconds_count": 4,
        'broker_api_calls_total{outcome="ok"}': 2,
        'broker_api_calls_total{outcome="error"}': 4,
        'signal_reviews_total{check="condition",outcome="error"}': 1,
        'signal_reviews_total{check="condition",outcome="ok"}': 0,
        'signal_reviews_total{check="execution",outcome="ok"}': 1,
        "db_duration_seconds_sum": 0.004,
        'signal_divergence_ratio_sum{signal="BASE_ENTRY"}': pytest.approx(0.01),
        "signal_age_seconds_count": 4,
    }
    assert {name: found[name] for name in expected} == expected


def test_four_failed_calls_in_a_row_are_shown_until_they_leave_the_window(
    exporter: Validation, samples: Samples
) -> None:
    name = "broker_api_consecutive_failures_max"
    assert samples(exporter.families(NOW))[name] == 4
    assert samples(exporter.families(1763719333.0 + 299))[name] == 4
    assert samples(exporter.families(1763719341.0 + 299))[name] == 0  # the call that succeeded
    assert name not in samples(exporter.families(1763719341.0 + 310))


def test_a_better_price_than_meant_is_no_slippage(samples: Samples) -> None:
    exporter = Validation(FileSource("nowhere"), lambda: NOW)
    line = b'{"event":"execution","ts":1,"strategy":"a","result":"success","slippage":-0.2}\n'
    exporter.feed(Block(line))
    assert samples(exporter.families(NOW))["execution_slippage_ratio_sum"] == 0


def test_the_schema_in_the_docs_is_the_parsers() -> None:
    assert SCHEMA.read_bytes() == events.schema()
