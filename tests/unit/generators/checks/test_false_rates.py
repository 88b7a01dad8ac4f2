"""How often guards roll a healthy release back: known laws give known chances, and what would mend them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from rollguard.generators.checks import false_rates
from rollguard.generators.checks.context import CheckContext, Finding, LoadedRollout
from rollguard.simulation import likelihoods
from rollguard.simulation.false_rates import Subject
from rollguard.spec.loading import load_rollout
from rollguard.spec.sets import read_rollout
from rollguard.yamlfile import dump
from tests.unit.simulation.played import RISES, WORSE, rollout

FAILS = {"alert": "Fails", **RISES, "action": "rollback"}
ERRORS: dict[str, Any] = {
    "alert": "Errors", "use": "ratio", "for": "1m", "severity": "critical", "action": "rollback",
    "with": {"numerator": 'requests_total{variant="exposed",code="500"}',
             "denominator": 'requests_total{variant="exposed"}', "above": 0.05, "min_denominator": 20},
}  # fmt: skip
HOUR = 3600.0


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(false_rates, "_KNOWN", {})
    return tmp_path / "cache" / "rollguard" / "false-rates"


def checked(
    folder: Path, traffic: Mapping[str, Any], *guards: Mapping[str, Any], **more: Any
) -> list[Finding]:
    path = folder / "shop.yaml"
    content = rollout(traffic, *guards, interval="15s", **more)
    path.write_text(dump(content.model_dump(mode="json", by_alias=True, exclude_defaults=True)))
    material = CheckContext([LoadedRollout(load_rollout(path), read_rollout(path))], folder)
    return list(false_rates.check(material))


def test_the_chance_of_rare_failures_is_that_of_a_poisson_process() -> None:
    (found,) = false_rates.rates(rollout({"failures_total": {"per_minute": 1e-4}}, FAILS))
    assert found.until_enabled == pytest.approx(-math.expm1(-3 * 60 * 1e-4), rel=0.2)
    assert found.enabled_week == pytest.approx(-math.expm1(-7 * 1440 * 1e-4), rel=0.15)


def test_what_follows_from_a_law_is_not_measured() -> None:
    calm = rollout({"failures_total": {"per_minute": 1e-12}}, FAILS)
    rate = Subject(calm, calm.guards[0]).measure(0.1, HOUR)
    assert rate.bounded
    assert 0 < rate.chance(HOUR) < 1e-8


def test_a_gauge_that_begins_with_the_stage_is_measured_over_the_stage() -> None:
    trails = {
        "alert": "Trails", "use": "trails-baseline", "severity": "warning", "action": "rollback",
        "with": {"metric": "wins", "baseline": "wins_old", "delta_ratio": 0.05, "sample": "wins_number",
                 "min_sample": 20}, "stages": ["canary"],
    }  # fmt: skip
    laws = {
        "trades_total": {"per_minute": 20, "bad": 0.5},
        "wins": {"good_of": "trades_total", "arm": "canary"},
        "wins_old": {"good_of": "trades_total", "arm": "baseline"},
        "wins_number": {"number_of": "trades_total", "arm": "canary"},
    }
    (found,) = false_rates.rates(rollout(laws, trails))
    assert found.until_enabled is not None
    assert 0.3 < found.until_enabled < 0.8  # .05 is half a standard error of 100 trades
    assert found.enabled_week == 0.0


@pytest.mark.parametrize(
    ("part", "rest", "limit", "least"), [(2.5, 40.0, 0.1, 20), (3.0, 5.0, 0.4, 0), (1, 9, 0, 3)]
)
def test_the_likelihood_of_a_share_is_that_of_two_poisson_numbers(
    part: float, rest: float, limit: float, least: float
) -> None:
    b, g = np.meshgrid(np.arange(80), np.arange(200))
    chances = stats.poisson.pmf(b, part) * stats.poisson.pmf(g, rest)
    exact = chances[(b > limit * (b + g) + 1e-12) & (b + g >= least)].sum()
    assert likelihoods.greater_share(part, rest, limit, least) == pytest.approx(exact, rel=1e-9)


def test_the_likelihood_of_a_number_is_that_of_a_poisson_number() -> None:
    assert likelihoods.more_events(3.0, 5) == pytest.approx(stats.poisson.sf(5, 3.0), rel=1e-9)
    assert likelihoods.more_events(0.0, 0) == 0.0


def test_a_guard_over_the_budget_is_named_with_the_number_that_mends_it(tmp_path: Path) -> None:
    traffic = {"requests_total": {"per_minute": 60, "bad": 0.01}}
    (found,) = checked(tmp_path, traffic, ERRORS)
    assert (found.severity, found.problem.key) == ("error", "guards[0]")
    assert "of healthy runs back until it is enabled" in found.problem.message
    assert "expected at most rollback.false_budget: 0.01 together" in found.problem.message
    assert found.problem.hint.startswith("Write min_denominator: ")
    number = int(found.problem.hint.split()[2])
    assert number > 20
    mended = {**ERRORS, "with": {**ERRORS["with"], "min_denominator": number}}
    assert checked(tmp_path, traffic, mended) == []


def test_the_budget_of_the_week_after_is_another(tmp_path: Path) -> None:
    traffic = {"failures_total": {"per_minute": 1e-5}}  # 0.2 % until it is enabled, 10 % in a week
    (found,) = checked(tmp_path, traffic, FAILS)
    assert "in a week after it is enabled" in found.problem.message
    assert "rollback.enabled_budget: 0.01" in found.problem.message
    assert found.problem.hint == "Write by_more_than: 2 instead of 0."
    assert checked(tmp_path, traffic, FAILS, rollback={"enabled_budget": 0.3}) == []


def test_evidence_takes_its_alpha_of_the_same_budget(tmp_path: Path) -> None:
    traffic = {"failures_total": {"per_minute": 5e-5}}  # 0.9 % until it is enabled
    guard = {**FAILS, "stages": ["canary", "half", "full"]}
    assert checked(tmp_path, traffic, guard) == []
    (found,) = checked(tmp_path, traffic, guard, {**WORSE, "with": {**WORSE["with"], "alpha": 0.009}})
    assert "with the other guards" in found.problem.message


def test_what_has_no_law_is_told_and_fails_nothing(tmp_path: Path) -> None:
    (found,) = checked(tmp_path, {}, FAILS)
    assert found.severity == "note"
    assert found.problem.message == "has a false_rate that is unknown, because no law for failures_total."


def test_what_was_measured_is_remembered(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traffic = {"failures_total": {"per_minute": 1e-5}}
    first = checked(tmp_path, traffic, FAILS)
    assert len([*cache.iterdir()]) > 1
    monkeypatch.setattr(false_rates, "_KNOWN", {})
    monkeypatch.setattr(Subject, "measure", lambda *_: pytest.fail("measured again"))
    assert checked(tmp_path, traffic, FAILS) == first
    for path in cache.iterdir():
        path.write_text("{")  # as a full disk leaves it
    monkeypatch.undo()
    monkeypatch.setattr(false_rates, "_KNOWN", {})
    assert checked(tmp_path, traffic, FAILS) == first


def test_json_data_have_every_number() -> None:
    found = false_rates.as_data(rollout({"failures_total": {"per_minute": 0}}, FAILS, WORSE))
    assert found == {
        "evidence_alpha": 0.01, "until_enabled": 0.01, "enabled_week": 0.0,
        "guards": [{"guard": "Fails", "until_enabled": 0.0, "enabled_week": 0.0, "unknown": ""}],
    }  # fmt: skip
