"""What the evaluator shows: every metric with its labels, whatever a guard asks."""

from __future__ import annotations

import pytest

from rollguard.exporters.evidence.evaluator import Look
from rollguard.exporters.evidence.exporter import EvidenceExporter
from rollguard.exporters.exposition.text import Exposition
from rollguard.monitoring.prometheus import Prometheus, Sample
from rollguard.spec.rollout import Rollout
from tests.factories import shipped_rollout

NAME = "model-canary"
COMPARED = {"bad": "lost_total", "total": "trades_total", "assigned": "drawn_total", "cluster": "none"}


@pytest.fixture
def exporter() -> EvidenceExporter:
    shipped = shipped_rollout().model_dump(by_alias=True, exclude_defaults=True)
    guard = {
        "alert": "Worse",
        "use": "compare",
        "with": COMPARED,
        "severity": "critical",
        "action": "rollback",
    }
    rollout = Rollout.model_validate({**shipped, "guards": [guard]})
    return EvidenceExporter([rollout], Prometheus("http://127.0.0.1:1"), 15.0)


def look(run: int | None, number: int) -> dict[str, Look]:
    samples = {
        f'{name}{{rollout="{NAME}"}}': [
            Sample({"arm": arm, "assigned": "10", "instance": "a"}, float(more * number))
            for arm in ("canary", "baseline")
        ]
        for name, more in (("lost_total", 1), ("trades_total", 9), ("drawn_total", 9))
    }
    return {NAME: Look(1000.0 + 15 * number, run, samples)}


def shown(exporter: EvidenceExporter) -> str:
    return Exposition().text(exporter.families(0.0)).decode()


def test_a_guard_whose_split_is_judged_is_shown(exporter: EvidenceExporter) -> None:
    for number in range(3):
        exporter.feed(look(7, number))
    text = shown(exporter)
    assert f'rollguard_log_evalue{{guard="Worse",rollout="{NAME}",run="7"}}' in text
    assert f'rollguard_split_log_evalue{{guard="Worse",rollout="{NAME}"}}' in text


def test_without_a_run_there_is_no_evidence(exporter: EvidenceExporter) -> None:
    exporter.feed(look(7, 0))
    exporter.feed(look(None, 1))
    assert "rollguard_log_evalue{" not in shown(exporter)


def test_while_nobody_tells_of_the_run_the_last_one_goes_on(exporter: EvidenceExporter) -> None:
    for run, number in ((7, 0), (0, 1), (0, 2)):
        exporter.feed(look(run, number))
    assert 'run="7"' in shown(exporter)


def test_a_new_run_begins_with_no_evidence_and_a_checkpoint_goes_on(exporter: EvidenceExporter) -> None:
    for run, number in ((7, 0), (7, 1), (8, 2)):
        exporter.feed(look(run, number))
    assert f'rollguard_evidence_events{{arm="canary",guard="Worse",rollout="{NAME}"}} 0' in shown(exporter)
    before = shown(exporter)
    exporter.restore(exporter.save())
    assert shown(exporter) == before
