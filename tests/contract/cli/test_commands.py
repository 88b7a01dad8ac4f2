"""`check` and `test` with the real promtool and amtool, as a person runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rollguard.generators.tools import binaries
from tests.factories import ROOT

SHIPPED = ROOT / "rollouts"

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path, need_binary: Callable[[binaries.Binary], str]) -> Run:
    for binary in (binaries.PROMTOOL, binaries.AMTOOL):
        need_binary(binary)

    def of(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "rollguard", *map(str, arguments)]
        return subprocess.run(
            command,
            cwd=tmp_path,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    return of


@pytest.fixture
def generated(run: Run, tmp_path: Path) -> Path:
    """What a new rollout file renders to: its guards are ErrorRatioHigh and PanicSeen."""
    run("init", "mine")
    assert run("generate", "--out", "build").returncode == 0
    return tmp_path / "build"


def complaints(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return what a command said on standard error, warnings aside."""
    return [line for line in done.stderr.splitlines() if not line.startswith("warning: ")]


@pytest.mark.slow  # `make check` says the same
def test_the_shipped_rollouts_are_right(run: Run) -> None:
    found = run("check", "--rollouts", SHIPPED)
    assert (found.returncode, complaints(found)) == (0, [])
    assert ": no errors" in found.stdout


def test_a_new_rollout_file_is_right_and_its_guards_are_tested(run: Run) -> None:
    run("init", "checkout-redesign")
    assert run("check").stdout.startswith("1 rollout, 2 guards: no errors")
    found = run("test")
    assert (found.returncode, found.stderr) == (0, "")
    assert "ok   ErrorRatioHigh " in found.stdout


def test_what_is_right_is_json_too(run: Run) -> None:
    run("init", "checkout-redesign")
    assert json.loads(run("check", "--json").stdout)["errors"] == 0


def test_what_promtool_refuses_is_1_and_names_the_parameter(run: Run, tmp_path: Path) -> None:
    text = (SHIPPED / "model-canary.yaml").read_text(encoding="utf-8")
    (tmp_path / "r.yaml").write_text(text.replace("metric: rolling_precision", "metric: nan"))
    found = run("check", "--rollouts", "r.yaml")
    assert found.returncode == 1
    assert "guards[1].with.metric is not PromQL: " in found.stderr


def test_every_guard_is_tested_as_json(run: Run) -> None:
    run("init", "mine")
    found = json.loads(run("test", "--json").stdout)
    assert found["problems"] == []
    assert {tuple(test["alerts"]) for test in found["tests"]} >= {("ErrorRatioHigh",), ("PanicSeen",)}


def test_test_files_are_run_as_they_are(run: Run, generated: Path) -> None:
    found = run("test", *generated.glob("tests/*.test.yml"))
    assert (found.returncode, found.stderr) == (0, "")


def test_a_guard_whose_test_fails_is_1_and_named(run: Run, generated: Path) -> None:
    rules = generated / "rules" / "mine.rules.yml"
    text = rules.read_text(encoding="utf-8")
    assert "> 0.05\n" in text
    rules.write_text(text.replace("> 0.05\n", "> 0.06\n"), encoding="utf-8")
    found = run("test", generated / "tests" / "mine.test.yml")
    assert found.returncode == 1
    assert [line.split()[1] for line in found.stdout.splitlines() if line.startswith("FAIL")] == [
        "ErrorRatioHigh"
    ]


def test_a_test_that_only_looks_green_is_1(run: Run, generated: Path) -> None:
    (generated / "rules" / "mine.rules.yml").unlink()
    found = run("test", generated / "tests" / "mine.test.yml")
    assert found.returncode == 1
    assert "rules/mine.rules.yml, which does not exist" in found.stderr


@pytest.mark.parametrize("text", ["", "- a\n", "rule_files: 3\n"])
def test_what_is_no_test_file_is_1_without_a_traceback(run: Run, tmp_path: Path, text: str) -> None:
    (tmp_path / "t.yml").write_text(text)
    found = run("test", "t.yml")
    assert (found.returncode, "Traceback" in found.stderr) == (1, False)
