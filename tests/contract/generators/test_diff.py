"""`rollguard diff` in a real git repository: words, JSON, and errors where there is nothing to compare."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rollguard.cli.main import cli
from rollguard.cli.revision import RevisionError, files_at
from rollguard.generators.tools import binaries
from tests.factories import SHIPPED


def git(*arguments: str) -> None:
    identity = ("-c", "user.name=Ann", "-c", "user.email=ann@example.org")
    subprocess.run(["git", *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def repository(
    need_binary: Callable[[binaries.Binary], str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Path:
    """A repository whose only commit holds the shipped rollout; it is the current folder."""
    need_binary(binaries.AMTOOL)
    monkeypatch.chdir(tmp_path)
    Path("rollouts").mkdir()
    Path("rollouts", SHIPPED.name).write_bytes(SHIPPED.read_bytes())
    git("init", "--initial-branch", "main")
    git("add", ".")
    git("commit", "--message", "Begin")
    return tmp_path


def change(old: str, new: str) -> None:
    path = Path("rollouts", SHIPPED.name)
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def diff(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["diff", *arguments])


def test_a_review_reads_what_has_changed(repository: Path) -> None:
    change("psi_feature, above: 0.30", "psi_feature, above: 0.25")
    change("for: 10m", "for: 5m")
    result = diff("HEAD")
    assert (result.exit_code, result.stdout) == (
        0,
        "model-canary\n"
        "  ~ WinRateDrop: for 10m → 5m; worst case 10m32s → 5m32s; routes unchanged\n"
        "  ~ DriftDetected: psi_feature above 0.3 → 0.25; worst case unchanged; routes unchanged\n",
    )


def test_a_rollout_that_is_new_is_told(repository: Path) -> None:
    git("rm", "--quiet", "--cached", "-r", "rollouts")
    git("commit", "--message", "Forget")
    assert diff("HEAD").stdout.startswith("model-canary (new)\n  + CanaryWinrateRollback: rollback when ")


def test_json_has_both_sides(repository: Path) -> None:
    change("for: 10m", "for: 5m")
    (found,) = json.loads(diff("main", "--rollouts", f"rollouts/{SHIPPED.name}", "--json").stdout)
    (guard,) = found["guards"]
    assert (guard["guard"], guard["words"]) == ("WinRateDrop", ["for 10m → 5m"])
    before, after = guard["worst"]
    assert before - after == 300


def test_where_nothing_has_changed_that_is_said(repository: Path) -> None:
    assert diff("HEAD").stdout == "Since HEAD no rollout has changed.\n"


@pytest.mark.parametrize("revision", ["nothing-like-it", "--upload-pack=touch x", "HEAD:rollouts"])
def test_an_unknown_revision_is_an_error_in_words(repository: Path, revision: str) -> None:
    with (
        pytest.raises(RevisionError, match="is no revision of this repository"),
        files_at(revision, Path("rollouts")),
    ):
        pass


def test_a_folder_without_repository_is_an_error_in_words(tmp_path: Path) -> None:
    with pytest.raises(RevisionError, match="is in no git repository"), files_at("HEAD", tmp_path):
        pass


def test_a_file_that_was_broken_then_is_named_as_git_names_it(repository: Path) -> None:
    path = Path("rollouts", SHIPPED.name)
    path.write_text("rollout: [\n")
    git("commit", "--all", "--message", "Break it")
    path.write_bytes(SHIPPED.read_bytes())
    result = diff("HEAD")
    assert "HEAD:rollouts/model-canary.yaml" in str(result.exception)


SET = """\
set: shop
summary: What watches every service of the shop.
guards:
  - {alert: PanicSeen, use: increases, with: {metric: panics_total}, severity: critical, action: rollback}
"""


def test_a_change_of_a_set_is_one_of_the_rollout_that_takes_it(repository: Path) -> None:
    path = Path("rollouts", "sets", "shop.yaml")
    path.parent.mkdir()
    path.write_text(SET)
    change("guards:\n", "guards:\n  - set: shop\n")
    added = diff("HEAD").stdout
    assert added.startswith("model-canary\n  + PanicSeen: rollback when ")
    git("add", ".")
    git("commit", "--message", "Take a set")
    path.write_text(SET.replace("rollback}", "hold}"))
    for given in ("rollouts", f"rollouts/{SHIPPED.name}"):
        found = diff("HEAD", "--rollouts", given).stdout
        assert "~ PanicSeen: action rollback → hold; worst case " in found


def test_a_set_that_was_broken_then_is_named_as_git_names_it(repository: Path) -> None:
    path = Path("rollouts", "sets", "shop.yaml")
    path.parent.mkdir()
    path.write_text("set: [\n")
    change("guards:\n", "guards:\n  - set: shop\n")
    git("add", ".")
    git("commit", "--message", "Break it")
    path.write_text(SET)
    assert "HEAD:rollouts/sets/shop.yaml:2: is not YAML" in str(diff("HEAD").exception)
