"""`rollguard baseline`: what is saved is shown, and what moved is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from scipy.stats import ks_2samp

from rollguard.cli.main import cli
from rollguard.exporters.measures.reference import Reference
from rollguard.exporters.screener.baseline import ScreenerBaseline

SCORES = {"min": 0.0, "max": 89.0, "mean": 38.0, "median": 36.0}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["baseline", *map(str, arguments)])


def reference(path: Path, shift: float = 0.0, **more: float) -> Path:
    rng = np.random.default_rng(3)
    rows = {"spread": rng.normal(size=2000) + shift, "depth": rng.exponential(size=2000)}
    rows |= {name: rng.normal(size=2000) * scale for name, scale in more.items()}
    Reference.fit(rows, source="events.jsonl", made_at=0.0, window=(0.0, 86400.0)).save(path)
    return path


def scan(path: Path, counts: list[int]) -> Path:
    ratings = {"StrongBuy": 10, "Buy": 30}
    edges = [20.0, 60.0]
    ScreenerBaseline(
        "screener", 0.0, "celery.log", "s1", 487, 42, SCORES, ratings, edges, counts, "fine"
    ).save(path)
    return path


def test_features_are_saved_from_events_and_shown_with_their_provenance(tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    lines = [
        {
            "event": "score",
            "ts": 1e9 + number,
            "slot": "active",
            "score": 0.5,
            "features": {"x": number % 7},
        }
        for number in range(400)
    ]
    events.write_text("".join(json.dumps(line) + "\n" for line in lines))
    saved = run("save", "--events", events, "--out", tmp_path / "r.json")
    assert saved.output == f"Wrote {tmp_path / 'r.json'}: 1 features of 400 rows.\n"
    shown = run("show", tmp_path / "r.json").output
    assert "from events.jsonl" in shown
    assert "400 rows, from 2001-09-09 01:46:40 UTC to 2001-09-09 01:53:19 UTC" in shown
    assert "bins at" in shown


def test_a_scan_is_shown(tmp_path: Path) -> None:
    shown = run("show", scan(tmp_path / "s.json", [100, 200, 100])).output
    for text in (
        "scan s1: 487 symbols, 42 ready; 400 scores",
        "pyramid    no",
        "StrongBuy 10, Buy 30",
        "mean 38",
        "20 to 60",
        "fine",
    ):
        assert text in shown


def test_a_baseline_is_shown_as_json(tmp_path: Path) -> None:
    assert json.loads(run("show", "--json", scan(tmp_path / "s.json", [1, 2, 3])).output)["n"] == 487


def test_the_same_features_did_not_move(tmp_path: Path) -> None:
    old, new = reference(tmp_path / "a.json"), reference(tmp_path / "b.json")
    found = run("diff", old, new)
    assert found.exit_code == 0
    assert "*" not in found.output


@pytest.mark.parametrize(("shift", "code"), [(0.45, 0), (0.6, 1)])
def test_a_feature_that_moved_half_its_deviation_is_marked(tmp_path: Path, shift: float, code: int) -> None:
    found = run("diff", reference(tmp_path / "a.json"), reference(tmp_path / "b.json", shift))
    assert found.exit_code == code
    assert ("* spread" in found.output) == bool(code)


def events(path: Path, shift: float = 0.0, count: int = 2000) -> Path:
    lines = [
        {"event": "score", "ts": 1e9, "slot": "active", "score": 0.5, "features": {"spread": s, "depth": d}}
        for s, d in zip(
            np.random.default_rng(4).normal(size=count) + shift,
            np.random.default_rng(5).exponential(size=count),
            strict=True,
        )
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.mark.parametrize("old", [reference, events])
@pytest.mark.parametrize(("shift", "code"), [(0.0, 0), (0.8, 1)])
def test_events_are_compared_with_a_reference_or_with_other_events(
    tmp_path: Path, old: Callable[[Path], Path], shift: float, code: int
) -> None:
    found = run("diff", "--json", old(tmp_path / "old"), events(tmp_path / "new", shift))
    assert found.exit_code == code
    drift = {one["what"]: one for one in json.loads(found.output)}
    assert (drift["spread"]["moved"], drift["depth"]["moved"]) == (bool(code), False)
    assert drift["spread"]["change"].startswith("PSI ")


def test_ks_of_two_files_of_events_is_exact(tmp_path: Path) -> None:
    found = run("diff", "--json", events(tmp_path / "old"), events(tmp_path / "new", 0.2))
    expected = ks_2samp(*(np.random.default_rng(4).normal(size=2000) + shift for shift in (0, 0.2)))
    drift = {one["what"]: one["change"] for one in json.loads(found.output)}
    assert drift["spread"].endswith(f"KS {expected.statistic:.3f}")


def test_too_few_events_are_not_judged(tmp_path: Path) -> None:
    found = run("diff", reference(tmp_path / "old"), events(tmp_path / "new", 5.0, count=299))
    assert found.exit_code == 0
    assert "299 values, too few to compare" in found.output


def test_events_do_not_come_before_their_reference(tmp_path: Path) -> None:
    found = run("diff", events(tmp_path / "old"), reference(tmp_path / "new"))
    assert found.exit_code == 1
    assert "the reference comes first" in found.output


def test_a_feature_that_is_only_in_one_is_marked(tmp_path: Path) -> None:
    found = run("diff", "--json", reference(tmp_path / "a.json"), reference(tmp_path / "b.json", extra=1.0))
    assert found.exit_code == 1
    assert [one["what"] for one in json.loads(found.output) if one["moved"]] == ["extra"]


@pytest.mark.parametrize(("counts", "code"), [([110, 190, 100], 0), ([10, 90, 300], 1)])
def test_scans_are_compared_by_the_psi_of_their_scores(tmp_path: Path, counts: list[int], code: int) -> None:
    found = run("diff", scan(tmp_path / "a.json", [100, 200, 100]), scan(tmp_path / "b.json", counts))
    assert found.exit_code == code
    assert "PSI" in found.output


def test_two_kinds_cannot_be_compared(tmp_path: Path) -> None:
    found = run("diff", scan(tmp_path / "a.json", [1, 2, 3]), reference(tmp_path / "b.json"))
    assert found.exit_code == 1
    assert "one is of features, the other of a screener" in found.output


@pytest.mark.parametrize("given", [[], ["--log", "l"], ["--events", "e", "--log", "l", "--database", "d"]])
def test_save_wants_either_a_canary_or_a_screener(given: list[str]) -> None:
    found = run("save", "--out", "o", *given)
    assert found.exit_code == 2
    assert "Give --events of a canary, or --log and --database of a screener." in found.output
