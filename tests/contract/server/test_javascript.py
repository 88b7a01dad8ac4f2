"""JavaScript clients see what this process evaluates: by flagd-core, and by OFREP with its event stream."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.factories import ROOT
from tests.javascript import MissingNodeError, installed
from tests.unit.flags.test_targeting import contexts, digests, in_python, scenarios

if TYPE_CHECKING:
    from tests.contract.conftest import Served

NAME = "model-canary"


@pytest.fixture(scope="session")
def node() -> Callable[[str], list[str]]:
    """Return a function that gives the command of a script; where node is missing, its tests are skipped.

    They skip in CI, too: what JavaScript chooses is on record, and held against Python without it.
    """

    def command(script: str) -> list[str]:
        try:
            return installed(script)
        except MissingNodeError as error:
            pytest.skip(str(error))

    return command


@pytest.fixture(scope="session")
def in_javascript(node: Callable[[str], list[str]]) -> dict[str, list[str]]:
    """Return what @openfeature/flagd-core makes of the scenarios."""
    asked = json.dumps({"document": scenarios(), "contexts": contexts()})
    found = subprocess.run(node("evaluate.mjs"), input=asked, capture_output=True, text=True, check=True)
    seen: dict[str, list[str]] = json.loads(found.stdout)
    return seen


def test_the_record_is_what_javascript_says(in_javascript: dict[str, list[str]]) -> None:
    golden = json.loads((ROOT / "tests" / "golden" / "flagd_core_js.json").read_text())
    assert digests(in_javascript) == golden


@pytest.mark.parametrize("key", scenarios()["flags"])
def test_javascript_and_python_choose_the_same_of_4000_users(
    in_javascript: dict[str, list[str]], key: str
) -> None:
    different = [
        context
        for context, here, there in zip(contexts(), in_python()[key], in_javascript[key], strict=True)
        if here != there
    ]
    assert different == []


# The web client


@pytest.fixture
def web(node: Callable[[str], list[str]], served: Served) -> Iterator[Callable[[], dict[str, Any]]]:
    """Return a function that waits for what a web client sees next; the first is what it saw at once."""
    command = [*node("web.mjs"), served.url, NAME, "ann"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        lines = process.stdout

        def following() -> dict[str, Any]:
            seen: dict[str, Any] = json.loads(lines.readline())
            return seen

        yield following
        process.kill()


def test_a_web_client_sees_every_flip_by_the_event_stream(
    web: Callable[[], dict[str, Any]], served: Served
) -> None:
    assert web()["value"] is False
    served.take_to("full")
    assert web()["value"] is True
    served.notify("DriftDetected")
    after = web()
    assert (after["value"], after["variant"]) == (False, "active")


def test_a_web_client_sees_a_flip_of_the_time_when_it_was_cut_off(
    web: Callable[[], dict[str, Any]], served: Served
) -> None:
    assert web()["value"] is False
    served.process.kill()
    served.start()
    served.take_to("full")
    assert web()["value"] is True
