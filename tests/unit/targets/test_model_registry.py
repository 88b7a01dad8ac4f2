"""The registry of models: which entry the active slot names, and when."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rollguard.targets import TargetError
from rollguard.targets.interface import Target
from tests.contract.target_cases import BACK, CANARY, FULL, OFF, SHADOW, built, rollout_with


class Registry:
    """A folder with three models, of which the second is active and the third the candidate."""

    def __init__(self, root: Path, **options: Any) -> None:
        self.root = root
        self.options = options
        for number, name in enumerate(("one", "two", "three")):
            (root / name).mkdir()
            (root / name / "model.onnx").write_text(str(number))
        self.manifest("one", "two", "three")
        self.link("active", "two")
        self.link("shadow", "three")

    def manifest(self, *names: str) -> None:
        entries = [{"id": name, "created_at": f"2026-01-0{index + 1}"} for index, name in enumerate(names)]
        (self.root / "manifest.json").write_text(json.dumps(entries))

    def link(self, name: str, entry: str) -> None:
        (self.root / name).unlink(missing_ok=True)
        (self.root / name).symlink_to(entry)

    @property
    def active(self) -> str:
        return os.readlink(self.root / "active")

    @property
    def target(self) -> Target:
        rollout = rollout_with({"model-registry": {"root": ".", **self.options}})
        return built(rollout, self.root)

    def apply(self, *states: Any) -> str:
        for state in states:
            self.target.apply(state)
            assert self.target.read_back(state)
        return self.active


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path)


def test_before_the_first_run_the_slot_is_left_alone(registry: Registry) -> None:
    registry.link("active", "one")
    assert registry.apply(OFF) == "one"


def test_the_active_model_stays_until_the_last_stage(registry: Registry) -> None:
    assert registry.apply(SHADOW, CANARY) == "two"


def test_the_last_stage_and_the_end_make_the_candidate_active(registry: Registry) -> None:
    assert registry.apply(SHADOW, CANARY, replace(CANARY, stage="full"), FULL) == "three"


def test_a_rollback_returns_to_the_one_before(registry: Registry) -> None:
    assert registry.apply(SHADOW, FULL, BACK) == "two"


def test_a_rollback_returns_to_what_was_active_though_the_manifest_has_another_between(
    registry: Registry,
) -> None:
    registry.link("active", "one")
    assert registry.apply(SHADOW, FULL, BACK) == "one"


def test_a_candidate_that_is_active_already_falls_back_to_the_entry_before_it(registry: Registry) -> None:
    registry.link("active", "three")
    assert registry.apply(BACK) == "two"


def test_rolling_back_twice_goes_back_once(registry: Registry) -> None:
    registry.link("active", "three")
    assert registry.apply(BACK, BACK) == "two"


def test_a_new_candidate_in_the_bake_is_not_made_active_before_its_own_run(registry: Registry) -> None:
    registry.apply(SHADOW, FULL)
    (registry.root / "four").mkdir()
    registry.manifest("one", "two", "three", "four")
    registry.link("shadow", "four")
    assert registry.apply(FULL) == "three"
    assert registry.apply(replace(SHADOW, run=2), replace(FULL, run=2)) == "four"


def test_without_a_link_to_the_candidate_the_last_entry_is_it(registry: Registry) -> None:
    (registry.root / "shadow").unlink()
    assert registry.apply(SHADOW, FULL) == "three"


def test_a_missing_slot_is_made(registry: Registry) -> None:
    (registry.root / "active").unlink()
    assert registry.apply(SHADOW) == "two"


def test_whoever_follows_the_link_finds_a_model_at_any_moment(registry: Registry) -> None:
    registry.apply(SHADOW, FULL)
    assert (registry.root / "active" / "model.onnx").read_text() == "2"
    assert not list(registry.root.glob(".*.tmp"))


def test_a_link_over_a_longer_way_is_understood(registry: Registry) -> None:
    registry.link("active", str(registry.root / "three") + "/")
    assert registry.apply(BACK) == "two"


def test_the_field_of_a_manifest_is_replaced_in_place(tmp_path: Path) -> None:
    registry = Registry(tmp_path, **{"as": "field"})
    text = '{"active": "two",\n "models": [{"id": "one"}, {"id": "two"},   {"id": "three"}]}\n'
    (tmp_path / "manifest.json").write_text(text)
    registry.apply(SHADOW, FULL)
    assert (tmp_path / "manifest.json").read_text() == text.replace(': "two",', ': "three",')


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not JSON"),
        ("[]", "has an entry without an id, or none"),
        ('[{"name": "x"}]', "has an entry without an id"),
        ('[{"id": "../x"}]', r"has the id '../x', expected the name of a folder"),
        ("{}", "is no manifest, expected a list"),
        ('[{"id": "three"}]', "has no entry before three"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_an_error_and_the_slot_stays(
    registry: Registry, text: str, message: str
) -> None:
    registry.link("active", "three")
    (registry.root / "manifest.json").write_text(text)
    (registry.root / "shadow").unlink()
    with pytest.raises(TargetError, match=message):
        registry.target.apply(BACK)
    assert registry.active == "three"


def test_an_entry_without_a_folder_is_an_error_and_the_slot_stays(registry: Registry) -> None:
    registry.link("shadow", "gone")
    with pytest.raises(TargetError, match="gone is not a folder, so active stays"):
        registry.apply(FULL)
    assert registry.active == "two"


def test_a_folder_in_the_place_of_the_slot_is_never_replaced(registry: Registry) -> None:
    (registry.root / "active").unlink()
    (registry.root / "active").mkdir()
    with pytest.raises(TargetError, match="active is not a link"):
        registry.target.apply(FULL)


def test_a_missing_manifest_is_an_error(registry: Registry) -> None:
    (registry.root / "manifest.json").unlink()
    with pytest.raises(TargetError, match=r"manifest.json does not exist"):
        registry.target.apply(FULL)
