"""Runs whose rollout file is gone, renamed or broken: they go on, people are told, and rollback works."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from rollguard import yamlfile
from rollguard.cli.local.stack import Settings, Stack, noted_runs
from rollguard.cli.main import cli
from rollguard.control.decisions import Clock
from rollguard.control.plane import ControlPlane
from rollguard.control.run_definitions import UNDEFINED, definition
from rollguard.control.transitions import RefusedError
from rollguard.errors import FileProblemsError
from rollguard.generators import output
from rollguard.ledger import Ledger
from rollguard.monitoring.alerts import GuardAlert, Notification
from rollguard.server import run
from rollguard.spec.loading import load_rollouts, load_sound
from rollguard.state import State, Transition
from tests import polling
from tests.unit.conftest import NOW, TOKEN, App

NAME = "model"
TEXT = """\
rollout: model
title: A release
owner: test
scrape: {job: model, targets: ["127.0.0.1:1"]}
flag:
  key: model-flag
  variants: {candidate: new, active: old}
  serve: candidate
  fallback: active
  users: {on: [ann], off: [bob]}
stages:
  - {name: canary, percent: 10}
  - {name: full, percent: 100}
guards:
  - {alert: Errors, use: threshold, with: {metric: x, above: 1}, severity: warning, action: rollback}
targets:
  - yaml-file:
      path: app.yml
      values: {fallback: {mode: "no"}, canary: {mode: canary}, full: {mode: full}}
"""
OTHER = TEXT.replace("model", "other").replace("app.yml", "other.yml")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "rollouts"
    path.mkdir()
    (path / "model.yaml").write_text(TEXT)
    (path / "other.yaml").write_text(OTHER)
    for name in ("app.yml", "other.yml"):
        (tmp_path / name).write_text("mode: begin\n")
    return path


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with closing(Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")) as opened:
        yield opened


def control_of(folder: Path, ledger: Ledger) -> ControlPlane:
    sound, _, broken = load_sound(folder)
    return ControlPlane(sound, ledger, clock=Clock(lambda: NOW, lambda: NOW), problems=broken)


@pytest.fixture
def canary(folder: Path, ledger: Ledger) -> State:
    """The state of a run in its first stage."""
    control_of(folder, ledger).start(NAME, actor="ann")
    return ledger.states()[NAME]


# What the ledger notes


def test_the_start_of_a_run_notes_what_it_follows(folder: Path, canary: State) -> None:
    assert definition(canary) == load_rollouts(folder / "model.yaml")[0]


@pytest.mark.parametrize("path", sorted(Path("rollouts").glob("*.yaml")), ids=lambda path: path.stem)
def test_what_is_noted_of_a_file_is_all_of_it(path: Path) -> None:
    (rollout,) = load_rollouts(path)
    noted = definition(State(rollout.name, definition=rollout.definition()))
    assert noted == rollout.model_copy(update={"traffic": {}}), "no rule follows from its traffic"


def test_a_note_of_another_release_that_cannot_be_read_is_none(canary: State) -> None:
    assert definition(replace(canary, definition='{"rollout": "model", "of": "a later release"}')) is None


def test_a_change_of_the_file_is_noted_once(folder: Path, ledger: Ledger, canary: State) -> None:
    (folder / "model.yaml").write_text(TEXT.replace("percent: 10}", "percent: 20}"))
    for _ in range(2):
        control_of(folder, ledger).note_definitions()
    entries = ledger.entries(after=canary.newest)
    assert [(entry.kind, entry.reason) for entry in entries] == [("define", "the rollout file has changed")]
    noted = definition(ledger.states()[NAME])
    assert noted is not None
    assert noted.stages[0].percent == 20
    assert ledger.states()[NAME].seq == canary.seq  # nothing has moved


def test_a_run_that_an_older_release_began_is_noted_when_it_is_first_served(
    folder: Path, ledger: Ledger
) -> None:
    ledger.append([Transition(NAME, "start", 1, "ROLLING_OUT", "canary", actor="ann")], NOW)
    control_of(folder, ledger).note_definitions()
    assert definition(ledger.states()[NAME]) == load_rollouts(folder / "model.yaml")[0]


# What goes on


def gone(path: Path) -> None:
    path.unlink()


def renamed(path: Path) -> None:
    path.write_text(TEXT.replace("rollout: model", "rollout: model-2"))


def no_yaml(path: Path) -> None:
    path.write_text(TEXT + "  - [unclosed\n")


def no_text(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\0")


def unknown_key(path: Path) -> None:
    path.write_text(TEXT + "oops: 1\n")


def stage_removed(path: Path) -> None:
    changed = yamlfile.read(path).data
    del changed["stages"][0], changed["targets"][0]["yaml-file"]["values"]["canary"]
    path.write_text(yamlfile.dump(changed))


def flag_renamed(path: Path) -> None:
    path.write_text(TEXT.replace("key: model-flag", "key: another-flag"))


def requires_nobody(path: Path) -> None:
    path.write_text(TEXT + "requires: [nobody]\n")


LOSSES: dict[Callable[[Path], None], str] = {
    gone: "no rollout file",
    renamed: "no rollout file",
    no_yaml: "model.yaml:",
    no_text: "is not UTF-8 text",
    unknown_key: "oops is not a known key",
    stage_removed: "stages has no canary, where run 1 is",
    flag_renamed: "flag.key is another-flag, while run 1 serves model-flag",
    requires_nobody: "which is no rollout of this folder",
}
losses = pytest.mark.parametrize("lose", LOSSES, ids=lambda lose: lose.__name__)


@pytest.fixture
def lost(lose: Callable[[Path], None], folder: Path, canary: State, ledger: Ledger) -> ControlPlane:
    """The control plane as it starts when the file of a run was lost in some way."""
    lose(folder / "model.yaml")
    return control_of(folder, ledger)


@losses
def test_the_run_goes_on_as_it_was(lost: ControlPlane, lose: Callable[[Path], None]) -> None:
    assert LOSSES[lose] in lost.file_problems[NAME][0]
    served = {user: lost.evaluator.evaluate("model-flag", {"targetingKey": user}) for user in ("ann", "bob")}
    assert {user: found.variant for user, found in served.items()} == {"ann": "candidate", "bob": "active"}
    share = sum(
        lost.evaluator.evaluate("model-flag", {"targetingKey": f"user-{n}"}).variant == "candidate"
        for n in range(1000)
    )
    assert 60 < share < 140
    assert "other" not in lost.file_problems


@losses
def test_its_guards_go_on_and_roll_it_back(lost: ControlPlane, lose: Callable[[Path], None]) -> None:
    alert = GuardAlert(NAME, "Errors", True, NOW, "e", {}, {})
    assert [entry.kind for entry in lost.notify(Notification((alert,)), NOW)] == ["rollback"]
    assert lost.evaluator.evaluate("model-flag", {"targetingKey": "ann"}).variant == "active"


@losses
def test_a_person_rolls_it_back_and_starts_it_no_more(
    lost: ControlPlane, lose: Callable[[Path], None]
) -> None:
    lost.rollback(NAME, actor="ann", reason="its file is gone")
    lost.acknowledge(NAME, actor="ann")
    assert lost.evaluator.evaluate("model-flag", {"targetingKey": "ann"}).variant == "active"
    with pytest.raises(RefusedError, match="mend its rollout file, then restart"):
        lost.start(NAME, actor="ann", unguarded=True)


@losses
def test_it_goes_no_further(lost: ControlPlane, lose: Callable[[Path], None]) -> None:
    with pytest.raises(RefusedError, match="mend its rollout file, then restart"):
        lost.promote(NAME, actor="ann", unguarded=True)
    state = lost.state(NAME)
    assert lost.waits_for(lost.rollouts[NAME], state)[0].startswith("its rollout file: ")
    assert "mend its rollout file" in lost.next_step(lost.rollouts[NAME], state)


@losses
def test_the_others_start_as_ever(lost: ControlPlane, lose: Callable[[Path], None]) -> None:
    lost.start("other", actor="ann")
    assert lost.evaluator.evaluate("other-flag", {"targetingKey": "ann"}).variant == "candidate"


@pytest.mark.parametrize("lose", [gone])
def test_after_a_restart_it_is_still_off(lost: ControlPlane, folder: Path, ledger: Ledger) -> None:
    lost.rollback(NAME, actor="ann", reason="its file is gone")
    after = control_of(folder, ledger)
    assert after.evaluator.evaluate("model-flag", {"targetingKey": "ann"}).variant == "active"
    after.acknowledge(NAME, actor="ann")
    assert NAME not in control_of(folder, ledger).rollouts  # now nobody misses it


@pytest.mark.parametrize("lose", [renamed])
def test_the_new_name_waits_until_the_old_run_is_over(
    lost: ControlPlane, folder: Path, ledger: Ledger
) -> None:
    with pytest.raises(RefusedError, match=r"flag\.key is model-flag, which run 1 of model serves"):
        lost.start("model-2", actor="ann")
    lost.rollback(NAME, actor="ann", reason="renamed")
    lost.acknowledge(NAME, actor="ann")
    control_of(folder, ledger).start("model-2", actor="ann")


def test_a_broken_file_that_never_ran_is_refused_with_its_errors(folder: Path, ledger: Ledger) -> None:
    unknown_key(folder / "model.yaml")
    with pytest.raises(RefusedError, match=r"model\.yaml:\d+: oops is not a known key"):
        control_of(folder, ledger).start(NAME, actor="ann")


def test_a_file_that_is_mended_is_followed_again(folder: Path, ledger: Ledger, canary: State) -> None:
    no_yaml(folder / "model.yaml")
    control_of(folder, ledger)
    (folder / "model.yaml").write_text(TEXT)
    found = control_of(folder, ledger)
    assert not found.file_problems
    assert found.promote(NAME, actor="ann", early=True, unguarded=True).to_stage == "full"


# An older ledger, which notes nothing


@pytest.fixture
def undefined(folder: Path, ledger: Ledger) -> ControlPlane:
    ledger.append([Transition(NAME, "start", 1, "ENABLED", actor="ann")], NOW)
    gone(folder / "model.yaml")
    return control_of(folder, ledger)


def test_of_a_run_without_a_note_nothing_is_served_and_that_is_said(undefined: ControlPlane) -> None:
    assert undefined.file_problems[NAME] == ["no rollout file", UNDEFINED]
    assert NAME not in undefined.evaluator.keys
    assert undefined.evaluator.keys == ("other-flag",)


def test_a_run_without_a_note_is_rolled_back_in_the_ledger_and_says_what_is_not_written(
    undefined: ControlPlane,
) -> None:
    entry = undefined.rollback(NAME, actor="ann", reason="gone")
    assert (entry.to_status, entry.evidence["unwritten"]) == ("ROLLBACK", UNDEFINED)


# What is told


@pytest.fixture
def lost_app(make_app: Callable[..., App], folder: Path, ledger: Ledger, canary: State) -> App:
    (rollout,) = load_rollouts(folder / "other.yaml")
    return make_app(rollout, ledger=ledger)


def test_verify_says_which_run_needs_its_file(undefined: ControlPlane, ledger: Ledger) -> None:
    said = "run 1 of model notes no definition: without its rollout file nothing could be served"
    assert ledger.undefined() == [said]
    undefined.start("other", actor="ann")
    assert ledger.undefined() == [said]


def test_the_api_says_it(lost_app: App) -> None:
    row = lost_app.get(f"/api/v1/rollouts/{NAME}").json()
    assert (row["file_problems"], row["percent"], row["run"]) == (["no rollout file"], 10, 1)
    assert lost_app.get("/api/v1/rollouts/other").json()["file_problems"] == []


def test_a_metric_says_it_until_the_run_is_over(lost_app: App) -> None:
    assert lost_app.sample("rollguard_run_without_file", rollout=NAME) == 1
    assert lost_app.sample("rollguard_run_without_file", rollout="other") == 0
    lost_app.control.rollback(NAME, actor="ann", reason="gone")
    assert lost_app.sample("rollguard_run_without_file", rollout=NAME) == 0


# As a process would


@contextmanager
def served(folder: Path, tmp_path: Path) -> Iterator[ControlPlane]:
    (tmp_path / "token").write_text(TOKEN)
    sound, problems, broken = load_sound(folder)
    options = run.Options(
        rollouts=sound,
        problems=problems,
        broken=broken,
        state=f"sqlite:///{tmp_path / 'ledger.db'}",
        token_files=[(None, tmp_path / "token")],
        root=tmp_path,
        memory=tmp_path / "memory",
    )
    with run.running(options) as server:
        yield server._control


def mode_of(root: Path) -> str:
    found: str = yaml.safe_load((root / "app.yml").read_text())["mode"]
    return found


@losses
def test_a_rollback_writes_the_targets_that_were_noted(
    folder: Path,
    tmp_path: Path,
    lose: Callable[[Path], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    with served(folder, tmp_path) as control:
        control.start(NAME, actor="ann")
        polling.eventually(lambda: mode_of(tmp_path) == "canary")
    lose(folder / "model.yaml")
    caplog.set_level(logging.ERROR)
    with served(folder, tmp_path) as control:
        assert f"model: run 1 goes on in canary: {control.file_problems[NAME][0]}" in caplog.text
        control.rollback(NAME, actor="ann", reason="its file is gone")
        polling.eventually(lambda: mode_of(tmp_path) == "no")


def test_a_file_that_may_not_take_over_a_flag_is_logged(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with served(folder, tmp_path) as control:
        control.start(NAME, actor="ann")
    renamed(folder / "model.yaml")
    with served(folder, tmp_path):
        assert "model-2 is not served: flag.key is model-flag, which run 1 of model serves" in caplog.text


def test_without_any_sound_file_and_any_run_nothing_is_served(folder: Path, tmp_path: Path) -> None:
    (folder / "other.yaml").unlink()
    no_yaml(folder / "model.yaml")
    with pytest.raises(FileProblemsError), served(folder, tmp_path):
        pass


@losses
def test_up_guards_the_run_as_the_ledger_noted_it(
    lose: Callable[[Path], None], folder: Path, canary: State, ledger: Ledger, tmp_path: Path
) -> None:
    noted = definition(canary)
    assert noted is not None
    lose(folder / "model.yaml")
    sound, _, broken = load_sound(folder)
    stack = Stack(Settings(sound, tmp_path / "run", noted=noted_runs(tmp_path, sound, broken)))
    stack.folder.mkdir()
    stack.prepare()
    rules = (stack.folder / "config/rules/model.rules.yml").read_text()
    assert rules == output.rules([noted])["rules/model.rules.yml"]
    assert {one.name for one in load_rollouts(stack.folder / "rollouts")} == {one.name for one in sound}


def test_up_without_a_ledger_follows_the_files(folder: Path, tmp_path: Path) -> None:
    assert noted_runs(tmp_path / "new", *load_sound(folder)[::2]) == []


def test_check_still_errs(folder: Path) -> None:
    unknown_key(folder / "model.yaml")
    found = CliRunner().invoke(cli, ["check", "--rollouts", str(folder)])
    assert (found.exit_code, "oops is not a known key" in found.output) == (1, True)
