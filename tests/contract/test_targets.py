"""Every target, held to one contract: convergent, idempotent, never torn, considerate of what it shares."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from filelock import FileLock

from rollguard import flags
from rollguard.loading import load_rollout
from rollguard.spec import FlagdFile, Rollout, Target, YamlFile
from rollguard.state import State
from rollguard.targets import TargetError, build, files
from rollguard.targets.interface import Target as AnyTarget
from rollguard.targets.yaml_file import render

ROOT = Path(__file__).parents[2]
KINDS = ("flagd-file", "yaml-file")

APP_YML = """\
# The application's settings.
server: {host: 127.0.0.1, port: 8080}   # not ours

rollout:
    mode:   disabled      # set by rollouts
    canary_fraction: 0.10
    note: "don't touch"

zebra: 1
ant: !Ref something
"""

FLAGS_JSON = """\
{
    "$schema": "https://flagd.dev/schema/v0/flags.json",
    "flags": {
        "zebra": {"state": "ENABLED", "variants": {"on": 1.0, "off": 0}, "defaultVariant": "on"},
        "model-canary": {
            "state": "ENABLED",
            "variants": {"candidate": true, "active": false},
            "defaultVariant": "candidate"
        },
        "ant": {"state": "DISABLED",   "variants": {"a": 1e3}}
    },
    "$evaluators": {}
}
"""


def rollout_with(kind: str, path: str, name: str = "model-canary") -> Rollout:
    """Return the shipped rollout with one target."""
    rollout = load_rollout(ROOT / "rollouts" / "model-canary.yaml")
    values: dict[str, dict[str, Any]] = {
        "fallback": {"rollout.mode": "disabled"},
        "shadow": {"rollout.mode": "shadow"},
        "canary": {"rollout.mode": "canary", "rollout.canary_fraction": 0.1},
        "ramp-25": {"rollout.mode": "canary", "rollout.canary_fraction": 0.25},
        "ramp-50": {"rollout.mode": "on", "rollout.canary_fraction": 0.5},
        "full": {"rollout.mode": "full"},
    }
    target = (
        Target(flagd_file=FlagdFile(path=path))
        if kind == "flagd-file"
        else Target(yaml_file=YamlFile(path=path, values=values))
    )
    flag = rollout.flag.model_copy(update={"key": name})
    return rollout.model_copy(update={"rollout": name, "flag": flag, "targets": (target,)})


STATES = (
    State("model-canary"),
    State("model-canary", "ROLLING_OUT", "shadow", run=1, seq=1),
    State("model-canary", "ROLLING_OUT", "canary", run=1, seq=2),
    State("model-canary", "ROLLING_OUT", "ramp-25", run=1, seq=3),
    State("model-canary", "ENABLED", run=1, seq=5),
    State("model-canary", "ROLLBACK", run=1, reason="WinRateDrop", seq=6),
)
OFF, CANARY, RAMP, BACK = STATES[0], STATES[2], STATES[3], STATES[-1]


@dataclass(frozen=True)
class Case:
    """A target over a file that others use too."""

    kind: str
    rollout: Rollout
    target: AnyTarget
    path: Path
    original: str

    def content(self) -> str:
        return self.path.read_bytes().decode()

    def others(self) -> Any:
        """Return what the file holds beside the target's values, in its order."""
        if self.kind == "flagd-file":
            document = json.loads(self.content())
            return [item for item in document["flags"].items() if item[0] != "model-canary"]
        return [
            line
            for line in self.content().splitlines()
            if not line.strip().startswith(("mode:", "canary_fraction:"))
        ]


@pytest.fixture(params=KINDS)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    kind: str = request.param
    path = tmp_path / "config" / ("flags.json" if kind == "flagd-file" else "app.yml")
    path.parent.mkdir()
    original = FLAGS_JSON if kind == "flagd-file" else APP_YML
    path.write_text(original)
    rollout = rollout_with(kind, f"config/{path.name}")
    (target,) = build(rollout, tmp_path)
    return Case(kind, rollout, target, path, original)


def stamp(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_ino, found.st_mtime_ns


# Convergence


def test_the_name_says_kind_and_place(case: Case) -> None:
    assert case.target.name == f"{case.kind}:config/{case.path.name}"


@pytest.mark.parametrize("before", STATES, ids=lambda state: f"from {state.position}")
@pytest.mark.parametrize("after", STATES, ids=lambda state: f"to {state.position}")
def test_it_converges_from_any_state_to_any_other(case: Case, before: State, after: State) -> None:
    case.target.apply(before)
    case.target.apply(after)
    assert case.target.read_back(after)


def test_another_state_does_not_read_back(case: Case) -> None:
    case.target.apply(CANARY)
    assert not case.target.read_back(RAMP)


def test_a_change_from_outside_does_not_read_back_until_it_is_put_right(case: Case) -> None:
    case.target.apply(CANARY)
    case.path.write_text(case.original)
    assert not case.target.read_back(CANARY)
    case.target.apply(CANARY)
    assert case.target.read_back(CANARY)


def test_applying_twice_writes_once(case: Case) -> None:
    case.target.apply(CANARY)
    before = stamp(case.path)
    case.target.apply(CANARY)
    assert stamp(case.path) == before


def test_reading_back_writes_nothing(case: Case) -> None:
    before = stamp(case.path)
    case.target.read_back(CANARY)
    assert stamp(case.path) == before


def test_what_is_beside_the_values_keeps_its_text_and_order(case: Case) -> None:
    before = case.others()
    for state in STATES:
        case.target.apply(state)
    assert case.others() == before


# The file


def test_mode_and_owner_are_kept(case: Case) -> None:
    case.path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(case.path, 12345, 54321)
    before = case.path.stat()
    case.target.apply(CANARY)
    after = case.path.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)


def test_a_symbolic_link_stays_and_what_it_points_to_changes(case: Case, tmp_path: Path) -> None:
    real = tmp_path / "elsewhere" / "real"
    real.parent.mkdir()
    case.path.rename(real)
    case.path.symlink_to("../elsewhere/real")
    case.target.apply(CANARY)
    assert case.path.is_symlink()
    assert case.target.read_back(CANARY)
    assert real.read_text() != case.original


def test_the_time_of_change_rises_though_the_clock_was_set_back(case: Case) -> None:
    ahead = time.time_ns() + 3_600_000_000_000
    os.utime(case.path, ns=(ahead, ahead))
    case.target.apply(CANARY)
    assert case.path.stat().st_mtime_ns > ahead


@pytest.mark.parametrize("broken", ["{", "\x00", "a: [", '{"flags": {}, "flags": {}'])
def test_a_broken_file_is_an_error_and_stays_as_it_is(case: Case, broken: str) -> None:
    case.path.write_text(broken)
    with pytest.raises(TargetError):
        case.target.apply(CANARY)
    assert case.content() == broken


def test_a_broken_file_is_an_error_when_read_back(case: Case) -> None:
    case.path.write_text("{")
    with pytest.raises(TargetError, match="is not"):
        case.target.read_back(CANARY)


def test_bytes_that_are_no_text_are_an_error_and_stay(case: Case) -> None:
    case.path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TargetError):
        case.target.apply(CANARY)
    assert case.path.read_bytes() == b"\xff\xfe\x00"


def test_a_folder_in_its_place_is_an_error(case: Case) -> None:
    case.path.unlink()
    case.path.mkdir()
    with pytest.raises(TargetError, match="not a regular file"):
        case.target.apply(CANARY)


def test_a_change_under_the_lock_is_noticed_and_kept(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    write_new = files._write_new

    def interrupted(temporary: Path, real: Path, content: bytes) -> None:
        write_new(temporary, real, content)
        case.path.write_text(case.original + "\n")

    monkeypatch.setattr(files, "_write_new", interrupted)
    with pytest.raises(TargetError, match="changed by somebody else"):
        case.target.apply(CANARY)
    assert case.content() == case.original + "\n"
    assert not list(case.path.parent.glob("*.tmp"))


def test_what_a_crash_left_behind_does_not_hurt(case: Case) -> None:
    leftover = case.path.with_name(f".{case.path.name}.tmp")
    leftover.write_text("half")
    leftover.chmod(0o400)
    case.target.apply(CANARY)
    assert case.target.read_back(CANARY)
    assert not leftover.exists()


def test_a_lock_that_is_held_is_an_error_in_the_end(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LOCK_SECONDS", 0.05)
    lock = FileLock(case.path.with_name(f".{case.path.name}.lock"))
    with lock, pytest.raises(TargetError, match="locked by another process"):
        case.target.apply(CANARY)


# Several at once


def _apply_for_ever(rollout: Rollout, root: Path, started: Any) -> None:
    (target,) = build(rollout, root)
    for number in range(1_000_000):
        target.apply((CANARY, RAMP)[number % 2])
        started.set()


def spawn(work: Callable[..., None], *arguments: Any) -> Any:
    process = multiprocessing.get_context("spawn").Process(target=work, args=arguments)
    process.start()
    return process


def test_a_kill_leaves_the_old_file_or_the_new(case: Case, tmp_path: Path) -> None:
    wanted = []
    for state in (RAMP, CANARY, RAMP):
        case.target.apply(state)
        wanted.append(case.content())
    for seed in range(4):
        started = multiprocessing.get_context("spawn").Event()
        process = spawn(_apply_for_ever, case.rollout, tmp_path, started)
        assert started.wait(30)
        deadline = time.monotonic() + random.Random(seed).uniform(0.0, 0.05)
        while time.monotonic() < deadline:
            assert case.content() in wanted
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert case.content() in wanted
    case.target.apply(BACK)
    assert case.target.read_back(BACK)


def _apply_and_count(rollout: Rollout, root: Path, count: int) -> None:
    (target,) = build(rollout, root)
    for number in range(count):
        target.apply(State(rollout.name, "ROLLING_OUT", ("canary", "ramp-25")[number % 2], run=1, seq=number))
    target.apply(State(rollout.name, "ROLLBACK", run=1, seq=count))


def test_two_processes_lose_nothing_of_each_other_in_one_json_file(tmp_path: Path) -> None:
    rollouts = [rollout_with("flagd-file", "flags.json", name) for name in ("one", "two")]
    processes = [spawn(_apply_and_count, rollout, tmp_path, 40) for rollout in rollouts]
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    for rollout in rollouts:
        (target,) = build(rollout, tmp_path)
        assert target.read_back(State(rollout.name, "ROLLBACK", run=1, seq=40))


def test_threads_lose_nothing_of_each_other_in_one_yaml_file(tmp_path: Path) -> None:
    keys = [f"key{number}" for number in range(8)]
    (tmp_path / "app.yml").write_text("".join(f"{key}: 0 # {key}\n" for key in keys))

    def work(key: str) -> None:
        words = ("fallback", "shadow", "canary", "ramp-25", "ramp-50", "full")
        values: dict[str, dict[str, Any]] = {word: {key: 100 + number} for number, word in enumerate(words)}
        target = Target(yaml_file=YamlFile(path="app.yml", values=values))
        rollout = rollout_with("yaml-file", "app.yml").model_copy(update={"targets": (target,)})
        for state in (CANARY, RAMP, BACK, STATES[1]):
            build(rollout, tmp_path)[0].apply(state)

    threads = [threading.Thread(target=work, args=(key,)) for key in keys]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "app.yml").read_text() == "".join(f"{key}: 101 # {key}\n" for key in keys)


# The file of flagd definitions


@pytest.fixture
def flagd(tmp_path: Path) -> AnyTarget:
    return build(rollout_with("flagd-file", "var/flags.json"), tmp_path)[0]


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
        '        "run": 0,\n        "seq": 0\n      }\n    }\n  }\n}\n'
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
    definition = flags.definition(rollout_with("flagd-file", "x"), OFF)
    definition["variants"] = {"candidate": 1, "active": 0}
    flags_file(tmp_path, json.dumps({"flags": {"model-canary": definition}}))
    assert not flagd.read_back(OFF)


# The YAML file of an application


def apply_yaml(tmp_path: Path, text: str, values: dict[str, Any]) -> str:
    """Return a YAML text after a rollback that means some values."""
    path = tmp_path / "app.yml"
    path.write_bytes(text.encode())
    target = Target(yaml_file=YamlFile(path="app.yml", values={"fallback": values}))
    rollout = rollout_with("yaml-file", "app.yml").model_copy(update={"targets": (target,)})
    (applied,) = build(rollout, tmp_path)
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
    (target,) = build(rollout_with("yaml-file", "config/app.yml"), tmp_path)
    with pytest.raises(TargetError, match="does not exist"):
        target.apply(CANARY)
    assert not (tmp_path / "config" / "app.yml").exists()


def test_a_stage_without_values_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "app.yml").write_text(APP_YML)
    (target,) = build(rollout_with("yaml-file", "app.yml"), tmp_path)
    with pytest.raises(TargetError, match="does not say what gone means"):
        target.apply(State("model-canary", "ROLLING_OUT", "gone", run=1))


@pytest.mark.parametrize("style", [None, "'", '"'])
@pytest.mark.parametrize(
    "value",
    [
        *("disabled", "a/b", "", "on", "No", "y", "null", "~", "1e3", "0x1", "0o7", "010", "1_000", "12:30"),
        *("2024-01-01", ".5", "=", "<<", "a: b", "a #b", "- x", " x ", "\t", "it's", 'say "x"', "é 😀"),
        *("\u2028", "\x85", "x" * 300, "word " * 60, "line\nbreak", "C:\\x", "%a", "@b", "`", "!x", "&x"),
        *(True, False, 0, -1, 10**20, 0.1, 1e-05, 1e22, -2.5),
    ],
)
def test_every_value_reads_back_by_yaml_1_1_and_1_2(tmp_path: Path, value: Any, style: str | None) -> None:
    text = render(value, style)
    assert "\n" not in text
    after = apply_yaml(tmp_path, "a: {b: x, c: 1}\n", {"a.b": value})
    assert list(yaml.safe_load(after)["a"]) == ["b", "c"]
