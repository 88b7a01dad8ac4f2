from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from rollguard.exporters.measures.assignments import (
    BASELINE,
    CANARY,
    MAX_PERCENTS,
    MAX_STAGES,
    Assignments,
    AssignmentsState,
    LeftOut,
    Place,
    Placed,
    percents_of_stages,
    unit_of,
)
from tests.factories import shipped_rollout

NOW = 1_700_000_000.0
ODD_PERCENTS: tuple[Any, ...] = ("10", True, -1, 100.1, [10], {}, 10**400)
ODD_TIMES: tuple[Any, ...] = ("now", True, 1e300, [])


def place(known: Assignments, arm: str | None = CANARY, **event: Any) -> Placed:
    return known.place(arm, event.get("percent"), event.get("assignment"), event.get("opened_ts"))


@pytest.fixture
def known() -> Assignments:
    found = Assignments({"canary": 10.0, "ramp-25": 25.0})
    found.begin(NOW, "canary")
    found.begin(NOW + 100, "ramp-25")
    found.begin(NOW + 200, "by hand", 12.5)
    found.begin(NOW + 300, "of another file")
    return found


@pytest.mark.parametrize(
    ("event", "assigned"),
    [
        ({"percent": 5}, "5"),
        ({"percent": 0.5, "opened_ts": NOW + 50}, "0.5"),
        ({"percent": -0.0}, "0"),
        ({"percent": 100.0, "assignment": "split"}, "100"),
        ({"opened_ts": NOW}, "10"),
        ({"opened_ts": NOW + 99.9}, "10"),
        ({"opened_ts": NOW + 100}, "25"),
        ({"opened_ts": int(NOW) + 250}, "12.5"),
    ],
)
def test_an_event_counts_at_the_percent_of_its_assignment(
    known: Assignments, event: dict[str, Any], assigned: str
) -> None:
    for arm in (CANARY, BASELINE):
        assert place(known, arm, **event) == Place(arm, assigned)


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        ({}, LeftOut.UNOPENED),
        ({"opened_ts": NOW - 0.1}, LeftOut.UNKNOWN_PERCENT),
        ({"opened_ts": NOW + 300}, LeftOut.UNKNOWN_PERCENT),
        ({"percent": 10, "arm": None}, LeftOut.NO_ARM),
        ({"percent": 10, "assignment": "listed"}, LeftOut.NOT_SPLIT),
        ({"percent": 10, "assignment": "match"}, LeftOut.NOT_SPLIT),
        ({"percent": 10, "assignment": "by hand"}, LeftOut.ODD_FIELD),
        ({"percent": 10, "assignment": ["split"]}, LeftOut.ODD_FIELD),
        *(({"percent": odd}, LeftOut.ODD_FIELD) for odd in ODD_PERCENTS),
        *(({"opened_ts": odd}, LeftOut.ODD_FIELD) for odd in ODD_TIMES),
    ],
)
def test_what_is_not_known_or_was_not_drawn_is_left_out(
    known: Assignments, event: dict[str, Any], reason: LeftOut
) -> None:
    assert place(known, **event) is reason


def test_a_stage_that_comes_late_lies_where_it_belongs() -> None:
    known = Assignments({})
    known.begin(NOW + 100, "b", 25)
    known.begin(NOW, "a", 10)
    assert place(known, opened_ts=NOW + 99) == Place(CANARY, "10")
    assert place(known, opened_ts=NOW + 101) == Place(CANARY, "25")


def test_stages_and_percents_are_bounded() -> None:
    known = Assignments({})
    for number in range(3 * MAX_STAGES):
        known.begin(NOW + number, "s", number % 5)
    assert len(known.state().stages) == MAX_STAGES
    assert place(known, opened_ts=NOW) is LeftOut.UNKNOWN_PERCENT
    found = [place(known, percent=50 + number / 8) for number in range(100)]
    assert found[MAX_PERCENTS - 6] == Place(CANARY, "51.75")
    assert set(found[MAX_PERCENTS - 5 :]) == {LeftOut.TOO_MANY_PERCENTS}
    assert place(known, percent=3) == Place(CANARY, "3")
    assert len({place.assigned for place in known.places}) == MAX_PERCENTS


def test_a_checkpoint_keeps_stages_and_percents(known: Assignments) -> None:
    place(known, percent=33)
    state = msgspec.json.decode(msgspec.json.encode(known.state()), type=AssignmentsState)
    other = Assignments({"full": 100.0}, state)
    assert place(other, opened_ts=NOW + 250) == Place(CANARY, "12.5")
    assert {place.assigned for place in other.places} == {"10", "25", "12.5", "33", "100"}


@pytest.mark.parametrize("times", [[NOW + 5], [NOW - 1, NOW, NOW + 120, NOW + 99, NOW + 301], [NOW - 5]])
def test_many_moments_lie_where_each_lies_alone(known: Assignments, times: list[float]) -> None:
    found: dict[int, Placed] = {}
    for stage, numbers in known.by_stage(np.array(times)):
        found |= dict.fromkeys(numbers.tolist(), known.place_in(CANARY, stage))
        assert known.place_in(None, stage) is LeftOut.NO_ARM
    assert [found[number] for number in range(len(times))] == [place(known, opened_ts=ts) for ts in times]


@pytest.mark.parametrize(
    ("stages", "begins"),
    [
        ([{"percent": 0}, {"percent": 10}, {"percent": 25}, {"percent": 10}], [True, False, False, False]),
        ([{"percent": 10}, {"percent": 0}, {"percent": 10}], [False, True, False]),
        (
            [{"run": "1", "percent": 0}, {"run": 1, "percent": 10}, {"run": 2, "percent": 10}],
            [True, False, True],
        ),
        ([{"run": 7, "percent": 10}, {"percent": 10}, {"run": 7, "percent": 0}], [True, False, False]),
        ([{"percent": "?"}, {"run": []}], [False, False]),
    ],
)
def test_a_run_begins_by_its_name_or_at_0_percent(stages: list[dict[str, Any]], begins: list[bool]) -> None:
    known = Assignments({})
    assert [known.begin(NOW + number, "s", **one) for number, one in enumerate(stages)] == begins


def test_a_rollout_knows_the_percents_of_its_stages_and_of_what_is_beside_them() -> None:
    found = percents_of_stages(shipped_rollout())
    assert found["shadow"] == found["fallback"] == found["disabled"] == found["rollback"] == 0
    assert (found["canary"], found["ramp-25"], found["full"], found["enabled"]) == (10, 25, 100, 100)


@pytest.mark.parametrize(
    ("unit", "name"),
    [
        *(("a", "a"), ("", None), (7, "7"), (-1, "-1"), (1_771_000_000_000_000_000, "1771000000000000000")),
        *((10**30, None), (True, None), (1.5, None), (None, None), ([], None), ({}, None)),
    ],
)
def test_a_unit_is_text_or_a_whole_number(unit: Any, name: str | None) -> None:
    assert unit_of(unit) == name
