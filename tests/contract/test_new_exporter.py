"""docs/new-exporter.md, followed word for word in an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "new-exporter.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"in `(\w+\.\w+)`:\n\n```\w+\n(.*?)```", PAGE, re.DOTALL))
COMMANDS = re.findall(r"```sh\n(.*?)\n```", PAGE)
(SHOWN,) = re.findall(r"```\n(\w[^`]*)```", PAGE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("empty")
    for name, text in FILES.items():
        (path / name).write_text(text, encoding="utf-8")
    return path


def follow(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(
        ["sh", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_the_page_has_the_files_and_commands() -> None:
    assert list(FILES) == ["orders.jsonl", "shop.py", "shop.yaml"]
    assert len(COMMANDS) == 2


def test_the_exporter_has_thirty_lines() -> None:
    assert sum(1 for line in FILES["shop.py"].splitlines() if line.strip()) <= 30


def test_followed_it_shows_what_the_page_says_and_its_rollout_is_sound(folder: Path) -> None:
    exported, checked = (follow(folder, command) for command in COMMANDS)
    assert exported.returncode == 0, exported.stderr
    assert "passed over (shape)" in exported.stderr
    found = (folder / "shop.prom").read_text().splitlines()
    assert [line for line in SHOWN.splitlines() if line not in found] == []
    assert checked.returncode == 0, checked.stdout
    assert "no errors" in checked.stdout


def test_a_misspelt_metric_is_found_with_its_line(folder: Path) -> None:
    assert follow(folder, COMMANDS[0]).returncode == 0
    (folder / "wrong.yaml").write_text(FILES["shop.yaml"].replace("shop_orders_total", "shop_ordres_total"))
    found = follow(folder, "rollguard check --rollouts wrong.yaml")
    assert found.returncode == 1
    assert "wrong.yaml:12" in found.stdout + found.stderr
