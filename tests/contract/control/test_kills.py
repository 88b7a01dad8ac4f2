"""The control plane killed by SIGKILL under a storm of alerts: no rollback is lost, none is applied twice."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from rollguard.ledger import Ledger
from tests.contract.planes import (
    GUARDS,
    MakePlane,
    Plane,
    check_ledger,
    check_stream,
    eventually,
    write_rollouts,
)

KILLS = 10
PER_LIFE = 2
"""Rollouts that are to fall between two kills."""

COPIES = 2

Alert = tuple[str, str]
"""Rollout and guard."""


class Storm:
    """Alerts that are sent until they are answered, as Alertmanager does, while their receiver dies."""

    def __init__(self, plane: Plane, chance: random.Random) -> None:
        self.plane = plane
        self._chance = chance
        self._unanswered: list[Alert] = []
        self.decided: list[dict[str, Any]] = []
        """Entries of the ledger that a sender was told of."""

    def live(self, names: Sequence[str]) -> None:
        """Let it live until a random number of answers has come, and die a moment later."""
        self.plane.start()
        alerts = self._unanswered + [(name, guard) for name in names for guard in GUARDS] * COPIES
        self._chance.shuffle(alerts)
        enough, moment = self._chance.randrange(len(alerts)), self._chance.uniform(0, 0.02)
        with ThreadPoolExecutor(6) as pool:
            sent = [(alert, pool.submit(self.plane.notify, *alert)) for alert in alerts]
            eventually(lambda: sum(future.done() for _, future in sent) >= enough, "answers")
            time.sleep(moment)  # anywhere between the arrival and the reply of the next one
            self.plane.child.kill()
        self._unanswered = [alert for alert, future in sent if not self._heard(future)]

    def calm(self) -> None:
        """Let it live, and send what is left."""
        self.plane.start()
        for alert in self._unanswered:
            self.decided += self.plane.notify(*alert)

    def _heard(self, future: Future[list[dict[str, Any]]]) -> bool:
        try:
            self.decided += future.result()
        except httpx.HTTPError:
            return False
        return True


def weather(plane: Plane, names: Sequence[str], chance: random.Random, kills: int) -> Storm:
    """Start all rollouts, and kill the control plane again and again while alerts for them come."""
    plane.start()
    for name in names:
        plane.begin(name)
    plane.child.kill()
    storm = Storm(plane, chance)
    for life in range(kills):
        storm.live(names[life * PER_LIFE : (life + 1) * PER_LIFE])
    storm.calm()
    return storm


def kill_under_a_storm(
    make_plane: MakePlane, tmp_path: Path, redis_url: str, state: str, *, seed: int, kills: int = 20
) -> None:
    names = [f"release-{number}" for number in range(kills * PER_LIFE)]
    rollouts = write_rollouts(tmp_path / "rollouts", names, redis_url)
    served = make_plane("plane", rollouts, state)
    storm = weather(served, names, random.Random(seed), kills)
    check_ledger(served, names, storm.decided)
    check_stream(served, redis_url, names)
    if state.startswith("sqlite"):
        with closing(Ledger.open(state, read_only=True)) as ledger:
            assert ledger.verify(ledger.head()) == []


def test_four_kills_lose_no_rollback_and_apply_none_twice(
    make_plane: MakePlane, tmp_path: Path, redis_url: str
) -> None:
    kill_under_a_storm(
        make_plane, tmp_path, redis_url, f"sqlite:///{tmp_path / 'ledger.db'}", seed=1, kills=4
    )


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 12))
def test_two_hundred_kills_lose_no_rollback_and_apply_none_twice(
    make_plane: MakePlane, tmp_path: Path, redis_url: str, seed: int
) -> None:
    kill_under_a_storm(make_plane, tmp_path, redis_url, f"sqlite:///{tmp_path / 'ledger.db'}", seed=seed)


@pytest.mark.slow
def test_twenty_kills_on_postgresql_lose_no_rollback_and_apply_none_twice(
    make_plane: MakePlane, tmp_path: Path, redis_url: str, postgres_url: str
) -> None:
    kill_under_a_storm(make_plane, tmp_path, redis_url, postgres_url, seed=1)


# Two control planes on one ledger


@pytest.fixture
def pair(make_plane: MakePlane, tmp_path: Path, redis_url: str, postgres_url: str) -> tuple[Plane, Plane]:
    rollouts = write_rollouts(tmp_path / "rollouts", ["one", "two"], redis_url)
    first, second = (make_plane(name, rollouts, postgres_url) for name in ("first", "second"))
    for one in (first, second):
        one.start()
    first.begin("one")
    first.begin("two")
    eventually(lambda: second.flag("one") and second.flag("two"), "the second serves what the first decided")
    return first, second


def test_of_two_control_planes_the_other_decides_when_one_is_killed(
    pair: tuple[Plane, Plane], redis_url: str
) -> None:
    first, second = pair
    first.notify("one", "Errors")
    first.child.kill()
    second.notify("two", "Errors")
    assert not second.flag("one")
    check_ledger(second, ["one", "two"], [])
    check_stream(second, redis_url, ["one", "two"])


def test_two_control_planes_that_are_told_the_same_decide_once(
    pair: tuple[Plane, Plane], redis_url: str
) -> None:
    alerts = [(one, name, guard) for one in pair for name in ("one", "two") for guard in GUARDS] * COPIES
    with ThreadPoolExecutor(8) as pool:
        decided = [entry for answer in pool.map(lambda it: it[0].notify(*it[1:]), alerts) for entry in answer]
    eventually(
        lambda: not any(one.flag(name) for one in pair for name in ("one", "two")), "all flags are off"
    )
    for one in pair:
        check_ledger(one, ["one", "two"], decided)
    check_stream(pair[0], redis_url, ["one", "two"])


def all_off(plane: Plane, names: Sequence[str]) -> bool:
    return not any(plane.flag(name) for name in names)


def test_two_control_planes_that_decide_at_once_both_show_what_both_decided(
    make_plane: MakePlane, tmp_path: Path, redis_url: str, postgres_url: str
) -> None:
    names = [f"release-{number}" for number in range(24)]
    rollouts = write_rollouts(tmp_path / "rollouts", names, redis_url)
    planes = [make_plane(name, rollouts, postgres_url) for name in ("first", "second")]
    for plane in planes:
        plane.start()
    for name in names:
        planes[0].begin(name)
    eventually(lambda: all(planes[1].flag(name) for name in names), "the second shows what the first decided")
    with ThreadPoolExecutor(8) as pool:
        told = [pool.submit(planes[number % 2].notify, name, "Errors") for number, name in enumerate(names)]
        for one in told:
            one.result()
    for plane in planes:
        eventually(partial(all_off, plane, names), "all flags are off")
        check_ledger(plane, names, [])


@pytest.mark.slow
def test_two_control_planes_killed_in_turn_under_a_storm_lose_no_rollback(
    make_plane: MakePlane, tmp_path: Path, redis_url: str, postgres_url: str
) -> None:
    names = [f"release-{number}" for number in range(KILLS * PER_LIFE)]
    rollouts = write_rollouts(tmp_path / "rollouts", names, redis_url)
    planes = [make_plane(name, rollouts, postgres_url) for name in ("first", "second")]
    planes[0].start()
    for name in names:
        planes[0].begin(name)
    chance = random.Random(1)
    for life in range(KILLS):
        dies, lives = planes[life % 2], planes[1 - life % 2]
        for plane in planes:
            if plane.child.ended() is not None or not plane.child.pid:
                plane.start()
        told = [(name, guard) for name in names[life * PER_LIFE : (life + 1) * PER_LIFE] for guard in GUARDS]
        with ThreadPoolExecutor(8) as pool:
            for alert in told:
                pool.submit(dies.notify, *alert)
            sent = [pool.submit(lives.notify, *alert) for alert in told]
            time.sleep(chance.uniform(0, 0.05))
            dies.child.kill()
            for one in sent:
                one.result()
    planes[(KILLS - 1) % 2].start()
    for plane in planes:
        eventually(partial(all_off, plane, names), "all flags are off")
        check_ledger(plane, names, [])
    check_stream(planes[0], redis_url, names)
