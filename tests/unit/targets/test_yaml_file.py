"""The YAML file of an application: single values are replaced in place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from rollguard.state import State
from rollguard.targets import TargetError
from rollguard.targets.yaml_file import render
from tests.contract.target_cases import APP_YML, BACK, CANARY, built, rollout_with


def apply_yaml(tmp_path: Path, text: str, values: dict[str, Any]) -> str:
    """Return a YAML text after a rollback that means some values."""
    path = tmp_path / "app.yml"
    path.write_bytes(text.encode())
    rollout = rollout_with({"yaml-file": {"path": "app.yml", "values": {"fallback": values}}})
    applied = built(rollout, tmp_path)
    applied.apply(BACK)
    assert applied.read_back(BACK)
    return path.read_bytes().decode()


def test_a_flip_of_one_value_is_a_change_of_one_line(tmp_path: Path) -> None:
    after = apply_yaml(tmp_path, APP_YML, {"rollout.mode": "canary", "rollout.canary_fraction": 0.1})
    assert after == APP_YML.replace("disabled ", "canary ")


@pytest.mark.parametrize(
    ("before", "value", "after"),
    [
        ("a: 1\n", 2, "a: 2\n"),
        ("a: 1", 2, "a: 2"),
        ("a: 1\r\nb: 2 # c\r\n", 3, "a: 3\r\nb: 2 # c\r\n"),
        ("\ufeff# BOM\na: 1\n", 2, "\ufeff# BOM\na: 2\n"),
        ("# é 😀\na: 'é' # 😀\n", "ü", "# é 😀\na: 'ü' # 😀\n"),
        ("a:\nb: 1\n", True, "a: true\nb: 1\n"),
        ("a:   # none yet\n", "x", "a: x   # none yet\n"),
        ("{a: 1, b: 2}\n", "x, y", '{a: "x, y", b: 2}\n'),
        ("'a' : 1\n", 2, "'a' : 2\n"),
        ("a: two\n  lines\nb: 1\n", "one", "a: one\nb: 1\n"),
        ("a: 'old'\n", "it's", "a: 'it''s'\n"),
        ('a: "old"\n', 'say "x"', 'a: "say \\"x\\""\n'),
        ("a: 'old'\n", False, "a: false\n"),
        ("b: &x [1]\nc: *x\nd: {<<: {e: 1}}\na: 1\n", 2, "b: &x [1]\nc: *x\nd: {<<: {e: 1}}\na: 2\n"),
        ("---\na: 1\n...\n", 2, "---\na: 2\n...\n"),
        ("a: on\n", "on", 'a: "on"\n'),
        ("a: 010\n", 10, "a: 10\n"),
        ("a: 1\n", 1.0, "a: 1.0\n"),
        ("a: true\n", 1, "a: 1\n"),
        ("a: 0.10 # kept\n", 0.1, "a: 0.10 # kept\n"),
    ],
)
def test_a_value_is_replaced_in_place(tmp_path: Path, before: str, value: Any, after: str) -> None:
    assert apply_yaml(tmp_path, before, {"a": value}) == after


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("b: 1\n", r"a\.b is missing|a is missing"),
        ("a:\n  c: 1\n", r"app.yml:2: a\.b is missing\.\n  Add b: there"),
        ("a: 1\n", r"app.yml:1: a\.b is missing"),
        ("", "a is missing"),
        ("a: {b: {c: 1}}\n", "is a mapping or list, expected a single value"),
        ("a: {b: [1]}\n", "is a mapping or list"),
        ("a:\n  b: |\n    text\n", "is a block of text"),
        ("a:\n  b: >-\n    text\n", "is a block of text"),
        ("a: {b: &x 1}\n", "is anchored or tagged"),
        ("a: {b: !!str 1}\n", "is anchored or tagged"),
        ("a: &x {b: 1}\nc: *x\n", "is anchored or tagged"),
        ("x: &x 1\na: {b: *x}\n", r"a\.b is an alias"),
        ("x: &x {b: 1}\na: *x\n", "a is an alias"),
        ("x: &x {c: 1}\na: {<<: *x, b: 1}\n", "beside a merge key"),
        ("a: {b: 1, b: 2}\n", r"a\.b is given twice"),
        ("a: {b: 1}\n---\na: {b: 2}\n", "single document"),
        ("a: {b: 1\n", "app.yml:2: is not YAML"),
        ("a: *nobody\n", "is not YAML"),
    ],
)
def test_what_cannot_be_replaced_in_place_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        apply_yaml(tmp_path, text, {"a.b": 5})
    assert (tmp_path / "app.yml").read_text() == text


def test_a_missing_yaml_file_is_an_error_and_is_not_created(tmp_path: Path) -> None:
    spec = {"path": "config/app.yml", "values": {"canary": {}}}
    target = built(rollout_with({"yaml-file": spec}), tmp_path)
    with pytest.raises(TargetError, match="does not exist"):
        target.apply(CANARY)
    assert not (tmp_path / "config" / "app.yml").exists()


def test_a_stage_without_values_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "app.yml").write_text(APP_YML)
    target = built(rollout_with({"yaml-file": {"path": "app.yml", "values": {}}}), tmp_path)
    with pytest.raises(TargetError, match="does not say what gone means"):
        target.apply(State("model-canary", "ROLLING_OUT", "gone", run=1))


@pytest.mark.parametrize("style", [None, "'", '"'])
@pytest.mark.parametrize(
    "value",
    [
        *("disabled", "a/b", "", "on", "No", "y", "null", "~", "1e3", "0x1", "0o7", "010", "1_000", "12:30"),
        *("2024-01-01", ".5", "=", "<<", "a: b", "a #b", "- x", " x ", "\t", "it's", 'say "x"', "é 😀"),
        *("\u2028", "\x85", "x" * 300, "word " * 60, "line\nbreak", "C:\\x", "%a", "@b", "`", "!x", "&x"),
        *(True, False, 0, -1, 2**64 - 1, 0.1, 1e-05, 1e22, -2.5),
    ],
)
def test_every_value_reads_back_by_yaml_1_1_and_1_2(tmp_path: Path, value: Any, style: str | None) -> None:
    text = render(value, style)
    assert "\n" not in text
    after = apply_yaml(tmp_path, "a: {b: x, c: 1}\n", {"a.b": value})
    assert list(yaml.safe_load(after)["a"]) == ["b", "c"]
