"""What a decision rested on, in words."""

from __future__ import annotations

from typing import Any

import pytest

from rollguard.control.evidence import said

ALERT = {"labels": {"guard": "Errors"}, "annotations": {"description": "Value 0.07: above 0.05."}}


@pytest.mark.parametrize(
    ("evidence", "words"),
    [
        ({}, ""),
        (ALERT, "Value 0.07: above 0.05."),
        ({"annotations": {}}, ""),
        ({"annotations": "odd"}, ""),
        ({"alerts": {"Errors": ALERT}, "guards": ["Errors"]}, "Errors: Value 0.07: above 0.05."),
        ({"alerts": {"Errors": "odd"}}, ""),
        ({"alerts": ["odd"]}, ""),
        (
            {
                "criteria": [
                    {"name": "enough", "query": "n >= 500", "value": 612.0, "holds": True},
                    {"name": "calm", "query": "absent(x)", "value": None, "holds": True},
                ]
            },
            "enough: 612 (n >= 500); calm: no data (absent(x))",
        ),
    ],
)
def test_evidence_reads_as_what_was_measured(evidence: dict[str, Any], words: str) -> None:
    assert said(evidence) == words
