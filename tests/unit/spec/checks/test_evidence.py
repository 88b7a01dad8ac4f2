"""What a guard by evidence asks is refused where it cannot be answered, with how to mend it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rollguard.errors import FileProblemsError
from rollguard.spec.loading import load_rollout
from rollguard.yamlfile import dump

STAGES = [
    {"name": "shadow", "percent": 0},
    {"name": "canary", "percent": 10, "hold": "1h"},
    {"name": "full", "percent": 100},
]
COMPARED = {"bad": 'requests_total{code=~"5.."}', "total": "requests_total", "cluster": "none"}


def problems(folder: Path, advance: Any = (), **guard: Any) -> str:
    content = {
        "rollout": "shop", "title": "Shop", "owner": "web",
        "scrape": {"job": "shop", "targets": ["127.0.0.1:9999"]},
        "flag": {"key": "shop", "variants": {"new": True, "old": False}, "serve": "new", "fallback": "old"},
        "stages": STAGES, "advance": list(advance),
        "guards": [
            {"alert": "Worse", "use": "compare", "stages": ["canary"], "severity": "critical",
             "action": "rollback", **guard}
        ],
    }  # fmt: skip
    path = folder / "shop.yaml"
    path.write_text(dump(content))
    try:
        load_rollout(path)
    except FileProblemsError as error:
        return str(error)
    return ""


def test_a_comparison_of_any_counters_is_taken(tmp_path: Path) -> None:
    given = {**COMPARED, "canary": 'version="2"', "baseline": 'version="1"', "alpha": 0.001, "times": 1.1}
    assert not problems(tmp_path, **{"with": given})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({**COMPARED, "alpha": 0}, "with.alpha is 0, expected a chance between 0 and 1"),
        ({**COMPARED, "alpha": 1}, "with.alpha is 1, expected a chance between 0 and 1"),
        ({**COMPARED, "alpha": "5%"}, "with.alpha is 5%, expected a chance"),
        ({**COMPARED, "alpha": True}, "with.alpha is true, expected a chance"),
        ({**COMPARED, "times": 0.9}, "with.times is 0.9, expected a factor of 1 or more"),
        ({"bad": "b", "total": "t"}, "has none of cluster, times, expected one"),
        ({"bad": "b", "cluster": "none"}, "has no total"),
        ({"cluster": "none"}, "has none of bad, histogram, values, expected exactly one"),
        ({**COMPARED, "values": "v"}, "has bad and values of bad, histogram, values"),
        ({"histogram": "h", "times": 2}, "with.times is given without bad"),
        ({**COMPARED, "each": "feature"}, "with.each is given without values"),
        ({**COMPARED, "worse": "higher"}, "with.worse is given without values"),
        ({"values": "v", "cluster": "none", "each": "a, b"}, "with.each is a, b, expected one label"),
        ({**COMPARED, "canary": 'arm="baseline"'}, 'has the same arms: arm="baseline"'),
        ({**COMPARED, "canary": "new"}, 'with.canary is new, expected matchers such as version="2"'),
        ({**COMPARED, "canary": ""}, "expected matchers such as"),
        ({**COMPARED, "horizon": "1h"}, "with.horizon is 1h, no shorter than the stage canary"),
        ({**COMPARED, "evidence": "mine"}, "with.evidence is not a parameter of compare"),
        ([COMPARED, COMPARED], "with is a list, expected one mapping"),
    ],
)
def test_a_comparison_that_cannot_be_judged_is_refused(tmp_path: Path, given: Any, said: str) -> None:
    assert said in problems(tmp_path, **{"with": given})


@pytest.mark.parametrize("stages", [["canary", "full"], ["shadow"], ["enabled"]])
def test_a_comparison_is_refused_where_one_arm_is_empty(tmp_path: Path, stages: list[str]) -> None:
    found = problems(tmp_path, stages=stages, **{"with": COMPARED})
    assert "where there is nothing beside the new variant to compare with" in found


@pytest.mark.parametrize(
    ("alpha", "said"),
    [
        (0.01, ""),
        (0.02, "with.alpha makes 0.02 with the other guards"),
        (0.0100001, "Write alpha: 0.01 into"),
    ],
)
def test_chance_has_one_budget_for_all_guards_that_roll_back(tmp_path: Path, alpha: float, said: str) -> None:
    found = problems(tmp_path, **{"with": {**COMPARED, "alpha": alpha}})
    assert said in found
    assert bool(found) == bool(said)
    assert not problems(tmp_path, action="notify", **{"with": {**COMPARED, "alpha": alpha}})


@pytest.mark.parametrize(
    ("criterion", "said"),
    [
        ({"not_worse": "Worse", "margin": 0.01}, ""),
        ({"not_worse": "Other", "margin": 0.01}, "not_worse is Other, expected one of Worse"),
        ({"not_worse": "Worse"}, "expected not_worse and margin together"),
        ({"margin": 0.01}, "expected not_worse and margin together"),
        ({"not_worse": "Worse", "margin": 0}, "margin"),
        ({"not_worse": "Worse", "margin": 0.01, "expr": "up == 1"}, "expected expr, or not_worse and margin"),
    ],
)
def test_a_proof_is_of_a_guard_that_compares(tmp_path: Path, criterion: dict[str, Any], said: str) -> None:
    found = problems(tmp_path, advance=[{"name": "proved", **criterion}], **{"with": COMPARED})
    assert said in found
    assert bool(found) == bool(said)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"bad": "b", "total": "t"}, "with.above is missing"),
        ({"good": "b", "total": "t", "above": 0.1}, "with.above is given without bad"),
        ({"good": "b", "total": "t", "below": 1}, "with.below is 1, expected a share between 0 and 1"),
        ({"bad": "b", "good": "g", "total": "t", "above": 0.1}, "has bad and good of bad, good"),
        ({"bad": "b", "above": 0.1}, "with.total is missing"),
    ],
)
def test_a_limit_that_cannot_be_judged_is_refused(tmp_path: Path, given: Any, said: str) -> None:
    assert said in problems(tmp_path, use="limit", **{"with": given})
