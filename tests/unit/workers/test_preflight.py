"""What must hold before a run starts: real commands, and what Prometheus says."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from rollguard.control.transitions import RefusedError
from rollguard.monitoring.prometheus import Prometheus, PrometheusError, SeveralSeriesError
from rollguard.spec.rollout import Preflight, Rollout
from rollguard.targets.memory import Memory
from rollguard.workers.preflight import MOST_AT_A_TIME, Preflights
from tests.factories import shipped_rollout
from tests.polling import eventually

SHIPPED = shipped_rollout()


def rollout(*items: Mapping[str, Any], name: str = SHIPPED.name) -> Rollout:
    found = tuple(Preflight.model_validate({"name": f"item {at}", **item}) for at, item in enumerate(items))
    return SHIPPED.model_copy(update={"rollout": name, "preflight": found})


def tried(folder: Path, *items: Mapping[str, Any], prometheus: Prometheus | None = None) -> Any:
    return Preflights(folder, folder / "memory", prometheus).run(rollout(*items), 3)


def test_commands_run_in_order_and_know_the_run_that_is_to_start(tmp_path: Path) -> None:
    note = "echo $1 $ROLLGUARD_ROLLOUT $ROLLGUARD_RUN $ROLLGUARD_STATE >> runs"
    items = [{"run": ["sh", "-c", note, "-", word]} for word in ("one", "two")]
    assert tried(tmp_path, *items) == (
        [{"name": "item 0", "run": items[0]["run"]}, {"name": "item 1", "run": items[1]["run"]}],
        [],
    )
    assert (tmp_path / "runs").read_text().splitlines() == [
        "one model-canary 3 shadow",
        "two model-canary 3 shadow",
    ]


def test_each_failure_is_told_with_the_commands_last_words(tmp_path: Path) -> None:
    passed, failures = tried(
        tmp_path,
        {"run": ["sh", "-c", "echo red; echo 2 gates are red; exit 3"]},
        {"run": ["no-such-program"]},
        {"run": ["true"]},
        {"run": ["sleep", "60"], "timeout": "200ms"},
    )
    assert [item["name"] for item in passed] == ["item 2"]
    assert failures[0] == "item 0: sh -c echo red; echo 2 gates are red; exit 3 ended with 3: 2 gates are red"
    assert failures[1].startswith("item 1: no-such-program cannot be started")
    assert failures[2] == "item 3: sleep 60 takes over 200ms, and was killed"


def test_no_shell_reads_arguments(tmp_path: Path) -> None:
    assert tried(tmp_path, {"run": ["test", "$(touch it)", "=", "$(touch it)"]})[1] == []
    assert not (tmp_path / "it").exists()


class Telling:
    """A Prometheus that tells what is asked for."""

    def __init__(self, **answers: Any) -> None:
        self.answers = {key.replace("_", " "): value for key, value in answers.items()}

    def value(self, query: str) -> float | None:
        found = next((value for word, value in self.answers.items() if query.startswith(word)), None)
        if isinstance(found, Exception):
            raise found
        return None if found is None else found if "==" not in query or found == 0 else None


@pytest.mark.parametrize(
    ("gaps", "failure"),
    [
        (0.0, None),
        (3.0, 'item 0: 3, expected gaps{rollout="model-canary"} == 0'),
        (None, 'item 0: no data, expected gaps{rollout="model-canary"} == 0'),
        (
            SeveralSeriesError("gaps yields 2 series, expected one."),
            "item 0: gaps yields 2 series, expected one",
        ),
        (PrometheusError("http://x does not answer."), "item 0: http://x does not answer"),
    ],
)
def test_an_expression_passes_where_it_yields_a_sample(
    tmp_path: Path, gaps: Any, failure: str | None
) -> None:
    prometheus = cast(Prometheus, Telling(gaps=gaps))
    passed, failures = tried(tmp_path, {"expr": "gaps == 0"}, prometheus=prometheus)
    assert failures == ([failure] if failure else [])
    query = 'gaps{rollout="model-canary"} == 0'
    assert passed == ([] if failure else [{"name": "item 0", "query": query, "value": 0.0}])


def test_what_cannot_be_false_or_asked_fails(tmp_path: Path) -> None:
    prometheus = cast(Prometheus, Telling(gaps=0.0))
    ((failure,),) = [tried(tmp_path, {"expr": "gaps"}, prometheus=prometheus)[1]]
    assert failure.startswith("item 0: always holds: gaps is compared with nothing")
    assert tried(tmp_path, {"expr": "gaps == 0"})[1] == ["item 0: there is no Prometheus to ask"]


def test_one_rollouts_preflight_is_tried_once_at_a_time_and_few_at_once(tmp_path: Path) -> None:
    preflights = Preflights(tmp_path, tmp_path / "memory", None)
    waits = {"run": ["sh", "-c", "touch $ROLLGUARD_ROLLOUT; while ! [ -e go ]; do sleep .05; done"]}
    names = [f"one-{number}" for number in range(MOST_AT_A_TIME)]
    threads = [threading.Thread(target=preflights.run, args=(rollout(waits, name=name), 1)) for name in names]
    for thread in threads:
        thread.start()
    try:
        eventually(lambda: all((tmp_path / name).exists() for name in names))
        with pytest.raises(RefusedError, match="one-0: its preflight is under way"):
            preflights.run(rollout(waits, name="one-0"), 1)
        with pytest.raises(RefusedError, match="4 preflights are under way; try again later"):
            preflights.run(rollout(waits, name="another"), 1)
    finally:
        (tmp_path / "go").touch()
        for thread in threads:
            thread.join(10)
    assert preflights.run(rollout(waits, name="another"), 1)[1] == []


def test_a_command_that_outlived_a_killed_control_plane_is_ended_first(tmp_path: Path) -> None:
    (hangs,) = rollout({"run": ["sleep", "60"], "timeout": "1m"}).preflight
    ended: list[str] = []

    def before_the_kill() -> None:
        preflights = Preflights(tmp_path, tmp_path / "memory", None)
        ended.extend(preflights.run(SHIPPED.model_copy(update={"preflight": (hangs,)}), 1)[1])

    thread = threading.Thread(target=before_the_kill)
    thread.start()
    noted = Memory(tmp_path / "memory" / SHIPPED.name, "preflight item 0")
    eventually(lambda: noted.load().get("running"))
    passes = hangs.model_copy(update={"run": ("true",)})
    after = Preflights(tmp_path, tmp_path / "memory", None)
    assert after.run(SHIPPED.model_copy(update={"preflight": (passes,)}), 1)[1] == []
    thread.join(30)
    assert ended == ["item 0: sleep 60 ended with -9"]
