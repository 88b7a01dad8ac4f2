"""Control planes as processes that take a rollout from stage to stage by what a real Prometheus shows."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.contract.planes import MakePlane, Plane, eventually
from tests.contract.shop import HEALTHY, SCALE, Shop

HOLD_SECONDS = 1.0
"""Of the first stage, as it is scaled."""

Serve = Callable[..., Plane]
"""Takes a name and a ledger's URL."""


@pytest.fixture
def serve(make_plane: MakePlane, shop: Shop) -> Serve:
    """Return a function that runs a control plane for the shop, which looks at Prometheus all the time."""

    def run(name: str, state: str, watch: str = "250ms") -> Plane:
        options = ("--time-scale", f"{SCALE:g}", "--watch", watch)
        plane = make_plane(name, shop.path, state, prometheus=shop.url, poll="200ms", options=options)
        plane.start()
        return plane

    return run


@pytest.fixture
def plane(serve: Serve, tmp_path: Path) -> Plane:
    return serve("plane", f"sqlite:///{tmp_path / 'ledger.db'}")


def stage(plane: Plane) -> str | None:
    return str(plane.get("rollouts/shop")["stage"])


def without(metric: str) -> dict[str, str]:
    return {name: value for name, value in HEALTHY.items() if name != metric}


def promotions(plane: Plane) -> list[dict[str, Any]]:
    return [entry for entry in plane.get("history") if entry["kind"] == "promote"]


def kept_by(plane: Plane, text: str) -> None:
    """Wait until the hold has passed and the stage waits all the same, for what begins with a text."""

    def kept() -> bool:
        shown = plane.get("rollouts/shop")
        found = any(reason.startswith(text) for reason in shown["waits_for"])
        return found and not shown["hold_left_seconds"]

    eventually(kept, f"{text} keeps the stage")
    assert stage(plane) == "canary"


def test_a_rollout_is_looked_at_as_soon_as_its_state_changes(serve: Serve, tmp_path: Path) -> None:
    plane = serve("plane", f"sqlite:///{tmp_path / 'ledger.db'}", watch="10m")
    plane.begin("shop")
    eventually(lambda: plane.get("rollouts/shop")["observed_at"], "a look long before the next turn")


def test_a_stage_ends_by_itself_once_its_hold_has_passed_and_its_criteria_hold(plane: Plane) -> None:
    plane.begin("shop")
    eventually(lambda: stage(plane) == "half", "the next stage")
    begun, entry = plane.get("history")
    assert (entry["kind"], entry["actor"]) == ("promote", "advance")
    assert entry["at"] - begun["at"] >= HOLD_SECONDS
    assert [item["holds"] for item in entry["evidence"]["criteria"]] == [True, True]


@pytest.mark.parametrize("value", ["99", None], ids=["is not met", "has no data"])
def test_a_criterion_keeps_a_stage_beyond_its_hold_while_it(
    shop: Shop, plane: Plane, value: str | None
) -> None:
    shop.service.metrics = {**HEALTHY, "orders": value} if value else without("orders")
    plane.begin("shop")
    kept_by(plane, f"enough: {value or 'no data'}")
    shop.service.metrics = dict(HEALTHY)
    eventually(lambda: stage(plane) == "half", "the next stage")
    assert len(promotions(plane)) == 1


def test_a_guard_without_data_keeps_a_stage_beyond_its_hold(shop: Shop, plane: Plane) -> None:
    shop.service.metrics = without("delay_seconds")
    eventually(lambda: shop.fires("TooSlowNoData"), "the alert about missing data")
    plane.begin("shop")
    begun = time.time()

    def kept() -> bool:  # its hold stops the stage's clock, so the end of that is not waited for
        waits = plane.get("rollouts/shop")["waits_for"]
        said = any(text.startswith("TooSlow, which has no data") for text in waits)
        return said and time.time() - begun > 2 * HOLD_SECONDS

    eventually(kept, "a guard without data keeps the stage")
    assert stage(plane) == "canary"


# Two control planes on PostgreSQL


@pytest.fixture
def leader(serve: Serve, shop: Shop, postgres_url: str) -> tuple[Plane, Plane]:
    """Two control planes of a run that lacks orders: the one that advances rollouts, and the other."""
    shop.service.metrics["orders"] = "99"
    pair = [serve(name, postgres_url) for name in ("first", "second")]
    pair[0].begin("shop")
    kept_by(pair[1], "enough")
    with psycopg.connect(postgres_url.replace("+psycopg", "")) as connection:
        ((holder,),) = connection.execute("SELECT holder FROM leases WHERE name = 'advance'").fetchall()
    pair.sort(key=lambda one: not str(holder).endswith(f"/{one.child.pid}"))
    return pair[0], pair[1]


def test_when_the_leader_is_killed_the_other_advances_and_rolls_back(
    shop: Shop, leader: tuple[Plane, Plane]
) -> None:
    dead, other = leader
    dead.child.kill()
    shop.service.metrics["orders"] = "100"
    eventually(lambda: stage(other) == "half", "the next stage")
    assert [entry["kind"] for entry in other.notify("shop", "TooWrong")] == ["rollback"]
    assert len(promotions(other)) == 1
    assert other.get("verify")["faults"] == []
