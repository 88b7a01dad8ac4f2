"""The file of environment variables: single values are replaced in place."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from rollguard.spec.targets import Target
from rollguard.targets import TargetError
from tests.contract.target_cases import BACK, CANARY, built, rollout_with


def apply(folder: Path, text: str, values: dict[str, Any]) -> str:
    """Return the file's text after a rollback that means some values."""
    path = folder / ".env"
    path.write_bytes(text.encode())
    target = built(rollout_with({"env-file": {"path": ".env", "values": {"fallback": values}}}), folder)
    target.apply(BACK)
    assert target.read_back(BACK)
    return path.read_bytes().decode()


@pytest.mark.parametrize(
    ("before", "value", "after"),
    [
        ("A=1\nB=2\n", 3, "A=3\nB=2\n"),
        ("A=1", 3, "A=3"),
        ("export A=1\n", True, "export A=true\n"),
        ("  A = true # why\n", False, "  A = false # why\n"),
        ('A="true"  # why\n', False, 'A="false"  # why\n'),
        ("A='true'\n", False, "A='false'\n"),
        ("A=\n", "x", "A=x\n"),
        ("A= # none\n", "x", "A=x # none\n"),
        ("A=1#2\n", 3, "A=3\n"),
        ("A=1\r\nB=2\r\n", 3, "A=3\r\nB=2\r\n"),
        ("\ufeffA=1\n", 3, "\ufeffA=3\n"),
        ("# A=0\nA=1\n", 3, "# A=0\nA=3\n"),
        ("B='x\nA=5\ny'\nA=1\n", 3, "B='x\nA=5\ny'\nA=3\n"),
        ('B="a\\"\nA=2"\nA=1\n', 3, 'B="a\\"\nA=2"\nA=3\n'),
        ("AA=1\nA=1\n", 3, "AA=1\nA=3\n"),
        ("A=x\n", "two words", "A='two words'\n"),
        ("A=x\n", "it's", 'A="it\'s"\n'),
        ("A=x\n", "a#b", "A='a#b'\n"),
        ('A="x"\n', "$HOME", "A='$HOME'\n"),
        ("A='x'\n", "", "A=''\n"),
        ("A=x\n", "AAPL,MSFT,SPY", "A=AAPL,MSFT,SPY\n"),
        ("not a variable\nA=1\n", 3, "not a variable\nA=3\n"),
        ("A='1'\n", 1, "A='1'\n"),
    ],
)
def test_a_value_is_replaced_in_place(tmp_path: Path, before: str, value: Any, after: str) -> None:
    assert apply(tmp_path, before, {"A": value}) == after


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("B=1\n", r"\.env: A is missing\.\n  Add A= there"),
        ("# A=1\n", "A is missing"),
        ("A=1\nA=2\n", r"\.env:2: A is given twice"),
        ("B=1\nA='1\n2'\n", r"\.env:2: A is over several lines"),
        ("A='1\n", "over several lines"),
        ("A='1'2\n", "goes on after its quotes"),
        ("A=1\0\n", "holds a NUL"),
    ],
)
def test_what_cannot_be_replaced_in_place_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        apply(tmp_path, text, {"A": 5})
    assert (tmp_path / ".env").read_text() == text


@pytest.mark.parametrize("quote", ["", "'", '"'])
@pytest.mark.parametrize("value", ["x", "", "a b", "it's", '"', "$HOME", "`id`", "#", "a #b", "é", "*"])
def test_a_shell_reads_the_value_that_was_meant(tmp_path: Path, value: str, quote: str) -> None:
    apply(tmp_path, f"export A={quote}old{quote}\n", {"A": value})
    command = ["sh", "-c", '. ./.env; printf %s "$A"']
    assert subprocess.check_output(command, cwd=tmp_path).decode() == value


@pytest.mark.parametrize("value", ["two\nlines", "a\\b", "it's $5", "\x07"])
def test_a_value_that_readers_would_not_agree_upon_is_refused_when_loaded(value: str) -> None:
    with pytest.raises(ValidationError, match="expected one line, without backslashes"):
        Target.model_validate({"env-file": {"path": "x", "values": {"fallback": {"A": value}}}})


def test_a_missing_file_is_an_error_and_is_not_created(tmp_path: Path) -> None:
    target = built(rollout_with({"env-file": {"path": ".env", "values": {"canary": {"A": 1}}}}), tmp_path)
    with pytest.raises(TargetError, match="does not exist"):
        target.apply(CANARY)
    assert not (tmp_path / ".env").exists()
