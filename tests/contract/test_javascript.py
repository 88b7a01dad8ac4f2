"""@openfeature/flagd-core in JavaScript chooses the same users as this process."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from tests.unit.test_targeting import ROOT, contexts, digests, in_python, scenarios

JS = ROOT / "tests" / "js"


@pytest.fixture(scope="session")
def in_javascript() -> dict[str, list[str]]:
    """Return what @openfeature/flagd-core makes of the same; needs node and npm, which need not be there."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        pytest.skip("needs node and npm; what they once said is in tests/golden/flagd_core_js.json")
    place = ROOT / ".tools" / "js"
    place.mkdir(parents=True, exist_ok=True)
    fresh = (JS / "package-lock.json").read_bytes()
    for name in ("package.json", "evaluate.mjs"):
        shutil.copyfile(JS / name, place / name)
    if not (place / "done").exists() or (place / "done").read_bytes() != fresh:
        shutil.copyfile(JS / "package-lock.json", place / "package-lock.json")
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        made = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
        if made.returncode:
            pytest.skip(f"npm cannot install @openfeature/flagd-core: {made.stderr[-300:]}")
        (place / "done").write_bytes(fresh)
    asked = json.dumps({"document": scenarios(), "contexts": contexts()})
    command = [node, "evaluate.mjs"]
    found = subprocess.run(command, cwd=place, input=asked, capture_output=True, text=True, check=True)
    seen: dict[str, list[str]] = json.loads(found.stdout)
    return seen


def test_the_record_is_what_javascript_says(in_javascript: dict[str, list[str]]) -> None:
    golden = json.loads((ROOT / "tests" / "golden" / "flagd_core_js.json").read_text())
    assert digests(in_javascript) == golden


@pytest.mark.parametrize("key", scenarios()["flags"])
def test_javascript_and_python_choose_the_same_of_20000_users(
    in_javascript: dict[str, list[str]], key: str
) -> None:
    different = [
        context
        for context, here, there in zip(contexts(), in_python()[key], in_javascript[key], strict=True)
        if here != there
    ]
    assert different == []
