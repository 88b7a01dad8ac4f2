"""The file of flagd definitions: one flag is put in, the others keep their text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rollguard.flags import definitions
from rollguard.targets import TargetError
from rollguard.targets.interface import Target as AnyTarget
from tests.contract.target_cases import CANARY, FLAGS_JSON, OFF, built, rollout_with


@pytest.fixture
def flagd(tmp_path: Path) -> AnyTarget:
    return built(rollout_with({"flagd-file": {"path": "var/flags.json"}}), tmp_path)


def flags_file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "var" / "flags.json"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text.encode())
    return path


def test_a_missing_flagd_file_does_not_read_back(flagd: AnyTarget) -> None:
    assert not flagd.read_back(OFF)


def test_a_missing_flagd_file_is_created_with_its_folder(flagd: AnyTarget, tmp_path: Path) -> None:
    flagd.apply(CANARY)
    assert flagd.read_back(CANARY)
    assert list(json.loads((tmp_path / "var" / "flags.json").read_text())["flags"]) == ["model-canary"]


def test_the_other_flags_keep_every_byte(flagd: AnyTarget, tmp_path: Path) -> None:
    path = flags_file(tmp_path, FLAGS_JSON)
    flagd.apply(CANARY)
    start, end = FLAGS_JSON.index('"model-canary"'), FLAGS_JSON.index('"ant"')
    assert path.read_text().startswith(FLAGS_JSON[:start])
    assert path.read_text().endswith(FLAGS_JSON[end:])


@pytest.mark.parametrize(
    "text",
    [
        '{"flags": {}}',
        '{"flags":{"other":{"state":"ENABLED","variants":{"a":1}}}}',
        '{\n  "flags": {\n  }\n}\n',
        '{\n  "flags": {\n    "other": {}\n  }\n}\n',
        '{\r\n\t"flags": {\r\n\t\t"other": {}\r\n\t}\r\n}\r\n',
        '{"metadata": {"flags": {"model-canary": 1}},\n "flags": {"other": {}}}',
        '{"flags": {"model\\u002dcanary": {}, "é": {}}}',
    ],
    ids=["empty", "minified", "empty, lines", "lines", "Windows", "nested namesakes", "escaped key"],
)
def test_a_flag_is_put_in_whatever_the_layout(flagd: AnyTarget, tmp_path: Path, text: str) -> None:
    path = flags_file(tmp_path, text)
    before = json.loads(text)
    flagd.apply(CANARY)
    after = json.loads(path.read_bytes())
    assert flagd.read_back(CANARY)
    before["flags"].pop("model-canary", None)
    after["flags"].pop("model-canary")
    assert after == before


def test_an_added_flag_stands_as_the_others_do(flagd: AnyTarget, tmp_path: Path) -> None:
    path = flags_file(tmp_path, '{\n  "flags": {\n    "other": {}\n  }\n}\n')
    flagd.apply(OFF)
    assert path.read_text() == (
        '{\n  "flags": {\n    "other": {},\n    "model-canary": {\n      "state": "ENABLED",\n'
        '      "variants": {\n        "candidate": true,\n        "active": false\n      },\n'
        '      "defaultVariant": "active",\n      "targeting": {},\n      "metadata": {\n'
        '        "rollout": "model-canary",\n        "position": "disabled",\n'
        '        "run": 0,\n        "seq": 0,\n        "percent": 0,\n        "assignment": "split"\n'
        "      }\n    }\n  }\n}\n"
    )


@pytest.mark.parametrize("text", ["[]", '{"flags": []}', "{}", "", '{"flags": {"a": 1, "a": 2}}', "\ufeff{}"])
def test_a_document_of_another_shape_is_an_error_and_stays(
    flagd: AnyTarget, tmp_path: Path, text: str
) -> None:
    path = flags_file(tmp_path, text)
    with pytest.raises(TargetError):
        flagd.apply(CANARY)
    assert path.read_text() == text


def test_a_definition_with_one_for_true_does_not_read_back(flagd: AnyTarget, tmp_path: Path) -> None:
    definition = definitions.definition(rollout_with(), OFF)
    definition["variants"] = {"candidate": 1, "active": 0}
    flags_file(tmp_path, json.dumps({"flags": {"model-canary": definition}}))
    assert not flagd.read_back(OFF)
