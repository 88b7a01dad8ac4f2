"""promtool accepts every query that a runbook tells people to ask."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import yaml

from rollguard.generators.tools.binaries import PROMTOOL, Binary

RUNBOOKS = Path(__file__).parents[3] / "docs/runbooks"


def test_promtool_accepts_every_query_of_the_runbooks(
    need_binary: Callable[[Binary], str], tmp_path: Path
) -> None:
    rules = [
        {"record": f"{re.sub('[^a-zA-Z]', '_', path.stem)}:{number}", "expr": query}
        for path in sorted(RUNBOOKS.glob("*.md"))
        for number, query in enumerate(
            re.findall(r"promtool query instant \S+ '([^']+)'", path.read_text(encoding="utf-8"))
        )
    ]
    file = tmp_path / "queries.rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "runbooks", "rules": rules}]}), encoding="utf-8")
    done = subprocess.run(
        [need_binary(PROMTOOL), "check", "rules", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
