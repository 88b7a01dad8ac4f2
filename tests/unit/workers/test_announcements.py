"""What people are told of a ledger entry."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from rollguard.monitoring.alerts import GuardAlert, Notification
from rollguard.state import Entry, Transition
from rollguard.targets.memory import Memory
from rollguard.workers.announcements import Announcements, announcement, holds_to_tell

if TYPE_CHECKING:
    from tests.unit.conftest import App

NAME = "model-canary"
NOW = 1_700_000_000.0


@pytest.fixture
def entries(app: App) -> list[Entry]:
    app.control.start(NAME, actor="ann", reason="v2")
    app.control.promote(NAME, actor="ann", early=True)
    app.control.rollback(NAME, actor="bob", reason="customers complain")
    return app.ledger.entries()


def test_each_step_is_an_alert_of_its_name(entries: list[Entry]) -> None:
    found = [announcement(entry, NOW) or {} for entry in entries]
    assert [alert["labels"]["alertname"] for alert in found] == [
        "RolloutStarted",
        "RolloutPromoted",
        "RolloutRolledBack",
    ]
    assert [alert["annotations"]["summary"] for alert in found] == [
        f"{NAME}, run 1: started from disabled to shadow by ann.",
        f"{NAME}, run 1: promoted from shadow to canary by ann.",
        f"{NAME}, run 1: rolled back from canary to fallback by bob.",
    ]
    assert found[-1]["annotations"]["description"] == "customers complain (entry 3 of the ledger)"


def test_a_guard_is_named_with_what_its_alert_said(app: App, entries: list[Entry]) -> None:
    said = {"description": "Value 0.41.", "runbook_url": "https://r", "summary": "S.", "other": "x"}
    changes = {"guard": "DriftDetected", "reason": "DriftDetected", "evidence": {"annotations": said}}
    alert = announcement(Entry(**{**vars(entries[-1]), **changes}), NOW) or {}
    assert alert["annotations"] == {
        "summary": f"{NAME}, run 1: rolled back from canary to fallback by guard DriftDetected.",
        "description": "Value 0.41. (entry 3 of the ledger)",
        "runbook_url": "https://r",
    }


def test_guards_that_hold_are_named(entries: list[Entry]) -> None:
    alerts = {"Errors": {"annotations": {"description": "Value 0.07."}}}
    evidence = {"guards": ["Errors", "Latency"], "alerts": alerts}
    held = {"kind": "hold", "actor": "guard", "reason": "Errors, Latency", "evidence": evidence}
    alert = announcement(Entry(**{**vars(entries[1]), **held, "from_stage": "canary"}), NOW) or {}
    assert alert["annotations"] == {
        "summary": f"{NAME}, run 1: held in canary by guard Errors, guard Latency.",
        "description": "Errors: Value 0.07. (entry 2 of the ledger)",
    }


def test_a_persons_reason_stands_beside_what_was_measured(entries: list[Entry]) -> None:
    evidence = {"criteria": [{"name": "trades", "value": 512, "query": "sample >= 500"}]}
    promoted = Entry(**{**vars(entries[1]), "reason": "ann agrees", "evidence": evidence})
    description = (announcement(promoted, NOW) or {})["annotations"]["description"]
    assert description == "ann agrees; trades: 512 (sample >= 500) (entry 2 of the ledger)"


def test_no_notice_looks_like_a_guard_that_acts_nor_silences_others(entries: list[Entry]) -> None:
    for entry in entries:
        labels = (announcement(entry, NOW) or {})["labels"]
        assert labels["action"] == "notify"
        assert labels["severity"] != "critical"


def test_two_steps_are_two_alerts_and_one_posted_again_is_the_same(entries: list[Entry]) -> None:
    promoted = entries[1]
    again = Entry(**{**vars(promoted), "seq": 9})

    def labels(entry: Entry, now: float) -> Any:
        return (announcement(entry, now) or {})["labels"]

    assert labels(promoted, NOW) != labels(again, NOW)
    assert labels(promoted, NOW) == labels(promoted, NOW + 60)


def test_a_notice_still_counts_when_it_is_posted_late(entries: list[Entry]) -> None:
    alert = announcement(entries[0], NOW + 3600) or {}
    assert datetime.fromisoformat(alert["startsAt"]).timestamp() == entries[0].at
    assert datetime.fromisoformat(alert["endsAt"]).timestamp() > NOW + 3600


def test_of_old_news_and_of_what_changes_nothing_nobody_is_told(entries: list[Entry]) -> None:
    assert announcement(entries[0], NOW + 25 * 3600) is None
    assert announcement(Entry(**{**vars(entries[0]), "kind": "acknowledge"}), NOW) is None


def test_a_release_is_told_where_it_has_another_reason_than_that_all_is_well(entries: list[Entry]) -> None:
    def released(**evidence: Any) -> Entry:
        told = {
            "kind": "release",
            "actor": "advance",
            "reason": "Errors: no data in full",
            "from_stage": "full",
        }
        return Entry(**{**vars(entries[1]), **told, "to_stage": "full", "evidence": evidence})

    assert announcement(released(guards=["Errors"]), NOW) is None
    alert = announcement(released(guards=["Errors"], why="no data in full"), NOW) or {}
    assert alert["annotations"] == {
        "summary": f"{NAME}, run 1: held no longer in full by advance.",
        "description": "Errors: no data in full (entry 2 of the ledger)",
    }


def test_a_link_leads_to_the_entry(entries: list[Entry]) -> None:
    alert = announcement(entries[2], NOW, "https://rollguard.example") or {}
    assert alert["generatorURL"] == f"https://rollguard.example/api/v1/history?rollout={NAME}&after=2"


# Holds that come and go


def hold(seq: int, minute: float, *guards: str, run: int = 1) -> Entry:
    known: dict[str, Any] = {"seq": seq, "at": NOW + 60 * minute, "rollout": NAME, "run": run}
    where = {
        "from_status": "ROLLING_OUT",
        "from_stage": "full",
        "to_status": "ROLLING_OUT",
        "to_stage": "full",
    }
    who = {
        "kind": "hold",
        "actor": "guard",
        "guard": None,
        "reason": "",
        "evidence": {"guards": list(guards)},
    }
    return Entry(**{**known, **where, **who, "previous_hash": "", "hash": f"h{seq}"})


def told(*entries: Entry, scale: float = 1.0) -> list[int]:
    return [entry.seq for entry in holds_to_tell(entries, {}, scale)[0]]


def test_a_guard_that_holds_again_and_again_is_told_of_once_an_hour() -> None:
    flapping = [hold(seq, 10.0 * seq, "Errors") for seq in range(20)]
    assert told(*flapping) == [0, 6, 12, 18]
    assert told(hold(1, 0, "Errors"), hold(2, 59.9, "Errors")) == [1]
    assert told(hold(1, 0, "Errors"), hold(2, 60, "Errors")) == [1, 2]


def test_another_guard_another_run_and_every_other_step_are_told() -> None:
    other = Entry(**{**vars(hold(3, 2, "Errors")), "kind": "rollback"})
    assert told(hold(1, 0, "Errors"), hold(2, 1, "Errors", "Latency"), other) == [1, 2, 3]
    assert told(hold(1, 0, "Errors"), hold(2, 1, "Errors", run=2)) == [1, 2]


def test_a_guard_that_was_told_of_is_left_out_of_what_is_told_of_others() -> None:
    evidence = {"guards": ["Errors", "Latency"], "alerts": {"Errors": {}, "Latency": {}}}
    second = Entry(**{**vars(hold(2, 1, "Errors", "Latency")), "evidence": evidence})
    (_, told), _ = holds_to_tell([hold(1, 0, "Errors"), second], {})
    assert (told.reason, told.evidence) == ("Latency", {"guards": ["Latency"], "alerts": {"Latency": {}}})


def test_that_holds_end_for_want_of_data_is_told_once_an_hour_too() -> None:
    def ended(seq: int, minute: float, **why: str) -> Entry:
        known = vars(hold(seq, minute, "Errors"))
        return Entry(**{**known, "kind": "release", "evidence": {"guards": ["Errors"], **why}})

    flapping = [hold(1, 0, "Errors"), ended(2, 10, why="no data"), hold(3, 20, "Errors")]
    assert told(*flapping, ended(4, 30, why="no data"), ended(5, 70, why="no data")) == [1, 2, 5]
    assert told(ended(1, 0), ended(2, 10, why="no data")) == [1, 2], "of the first nobody is told at all"


def test_the_hour_is_scaled() -> None:
    assert told(hold(1, 0, "Errors"), hold(2, 1, "Errors"), scale=60.0) == [1, 2]


def test_when_people_were_told_is_forgotten_in_the_end() -> None:
    _, holds = holds_to_tell([hold(1, 0, "Errors")], {})
    assert holds_to_tell([hold(2, 30, "Other")], holds)[1].keys() > holds.keys()
    assert holds_to_tell([hold(2, 61, "Other")], holds)[1].keys().isdisjoint(holds)


# Several Alertmanagers


class Alertmanagers:
    """Two of them, what each answers, and how often both took notices."""

    def __init__(self) -> None:
        self.answers = {"first": 200, "second": 200}
        self.taken: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        code = self.answers[request.url.host]
        if not code:
            raise httpx.ConnectError("refused")
        if code == 200:
            self.taken.append(request.url.host)
        return httpx.Response(code)


@pytest.fixture
def pair() -> Alertmanagers:
    return Alertmanagers()


@pytest.fixture
def notices(app: App, tmp_path: Path, pair: Alertmanagers, entries: list[Entry]) -> Iterator[Announcements]:
    (tmp_path / "memory").mkdir()
    memory = Memory(tmp_path / "memory", "notices")
    found = Announcements(app.control, ["http://first/", "http://second"], memory)
    found._client.close()
    found._client = httpx.Client(transport=httpx.MockTransport(pair))
    assert entries
    yield found
    found._client.close()


def test_each_alertmanager_is_told_once(notices: Announcements, pair: Alertmanagers) -> None:
    assert notices.step()
    assert notices.step()
    assert sorted(pair.taken) == ["first", "second"]


@pytest.mark.parametrize("code", [0, 503, 400])
def test_a_notice_is_told_once_one_alertmanager_has_taken_it(
    notices: Announcements, pair: Alertmanagers, code: int
) -> None:
    pair.answers["first"] = code
    assert notices.step()
    pair.answers["first"] = 200
    assert notices.step()
    assert pair.taken == ["second"]


@pytest.mark.parametrize("codes", [(0, 503), (400, 503), (0, 0)])
def test_a_notice_that_nobody_took_is_posted_again(
    notices: Announcements, pair: Alertmanagers, codes: tuple[int, int]
) -> None:
    pair.answers = dict(zip(("first", "second"), codes, strict=True))
    assert not notices.step()
    pair.answers = {"first": 0, "second": 200}
    assert notices.step()
    assert pair.taken == ["second"]


def test_a_hold_that_comes_again_after_a_restart_is_in_the_ledger_and_not_told_again(
    app: App, tmp_path: Path, notices: Announcements, pair: Alertmanagers
) -> None:
    def fires(firing: bool) -> None:
        found = GuardAlert(NAME, "WinRateDropNoData", firing, NOW, "f", {}, {})
        app.control.notify(Notification((found,)), NOW)

    app.control.acknowledge(NAME, actor="ann")
    app.ledger.append([Transition(NAME, "start", 2, "ROLLING_OUT", "shadow", actor="ann")], NOW)
    fires(True)
    assert notices.step()
    pair.taken.clear()
    fires(False)
    app.control.acknowledge(NAME, actor="ann")
    fires(True)
    again = Announcements(app.control, ["http://first/"], Memory(tmp_path / "memory", "notices"))
    again._client.close()
    again._client = httpx.Client(transport=httpx.MockTransport(pair))
    assert again.step()
    assert [entry.kind for entry in app.ledger.entries()[-3:]] == ["hold", "acknowledge", "hold"]
    assert pair.taken == []
    app.control.rollback(NAME, actor="ann", reason="x")
    assert again.step()
    assert pair.taken == ["first"]
    again._client.close()


def test_a_notice_that_both_refuse_keeps_no_other_back(notices: Announcements, pair: Alertmanagers) -> None:
    pair.answers = {"first": 400, "second": 413}
    assert notices.step()
