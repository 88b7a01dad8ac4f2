"""The JSON file of an application: values are replaced in place, whole objects among them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rollguard.targets import TargetError
from tests.contract.target_cases import BACK, CANARY, built, rollout_with

SHADOW = {"enabled": True, "shadow_mode": True, "strategy": "simple_limit"}


def apply(folder: Path, text: str, values: dict[str, Any]) -> str:
    """Return the file's text after a rollback that means some values."""
    path = folder / "config.json"
    path.write_bytes(text.encode())
    spec = {"path": "config.json", "values": {"fallback": values}}
    target = built(rollout_with({"json-file": spec}), folder)
    target.apply(BACK)
    assert target.read_back(BACK)
    return path.read_bytes().decode()


@pytest.mark.parametrize(
    ("before", "value", "after"),
    [
        ('{"a": 1, "b": 1.0}', 2, '{"a": 2, "b": 1.0}'),
        ('{"a":true}\n', False, '{"a":false}\n'),
        ('{"a": 1}', 1.0, '{"a": 1.0}'),
        ('{"a": true}', 1, '{"a": 1}'),
        ('{"a": 0.10}', 0.1, '{"a": 0.10}'),
        ('{"a": [1]}', None, '{"a": null}'),
        ('{"a" : {"b": [1, {"a": 2}]}}', "x", '{"a" : "x"}'),
        ('{"\\u0061": 1}', 2, '{"\\u0061": 2}'),
        ('{\n\t"a": {\n\t\t"b": 1\n\t}\n}', {"c": 2}, '{\n\t"a": {\n\t\t"c": 2\n\t}\n}'),
        ('{\r\n  "a": {}\r\n}\r\n', {"c": 2}, '{\r\n  "a": {\r\n    "c": 2\r\n  }\r\n}\r\n'),
        ('{"a": {"b": 1, "c": 2}}', {"c": 2, "b": 1}, '{"a": {"b": 1, "c": 2}}'),
    ],
)
def test_a_value_is_replaced_in_place(tmp_path: Path, before: str, value: Any, after: str) -> None:
    assert apply(tmp_path, before, {"a": value}) == after


def test_an_object_is_replaced_whole_and_then_one_value_of_it(tmp_path: Path) -> None:
    text = json.dumps({"before": 1, "signal_validation": {"old": True}, "after": 2}, indent=2)
    whole = apply(tmp_path, text, {"signal_validation": SHADOW})
    assert json.loads(whole) == {"before": 1, "signal_validation": SHADOW, "after": 2}
    off = apply(tmp_path, whole, {"signal_validation.enabled": False})
    assert off == whole.replace('"enabled": true', '"enabled": false')


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"b": 1}', r"config.json: a\.b is missing\.\n  Add a: there"),
        ('{"a": 1}', r"a\.b is missing"),
        ('{"a": [1]}', r"a\.b is missing"),
        ("[]", "is not a JSON object"),
        ("", "is not JSON"),
        ('{"a": {"b": 1, "b": 2}}', "b is given twice"),
        ('\ufeff{"a": {"b": 1}}', "is not JSON"),
        ("{'a': 1}", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
    ],
)
def test_what_cannot_be_replaced_in_place_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        apply(tmp_path, text, {"a.b": 5})
    assert (tmp_path / "config.json").read_text() == text


def test_a_missing_file_is_an_error_and_is_not_created(tmp_path: Path) -> None:
    spec = {"path": "config.json", "values": {"canary": {"a": 1}}}
    with pytest.raises(TargetError, match="does not exist"):
        built(rollout_with({"json-file": spec}), tmp_path).apply(CANARY)
    assert not (tmp_path / "config.json").exists()
