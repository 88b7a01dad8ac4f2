"""Which alerts fire now, from snapshots that may be old and lists that may be older."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rollguard.control.active_alerts import ActiveAlerts
from rollguard.monitoring.alerts import GuardAlert

START_OF_RUN = 100.0


def alert(
    guard: str = "Errors", *, firing: bool = True, starts_at: float = 150.0, mark: str = "f"
) -> GuardAlert:
    return GuardAlert("shop", guard, firing, starts_at, mark, {}, {})


def guards(firing: ActiveAlerts, since: float | None = None) -> list[str]:
    return [found.guard for found in firing.of("shop", since)]


def test_a_notified_alert_fires() -> None:
    firing = ActiveAlerts()
    firing.notified([alert()], at=1.0)
    assert guards(firing) == ["Errors"]


def test_an_alert_of_another_rollout_is_not_of_this() -> None:
    firing = ActiveAlerts()
    firing.notified([alert()], at=1.0)
    assert firing.of("other") == []


def test_a_resolved_alert_no_longer_fires() -> None:
    firing = ActiveAlerts()
    firing.notified([alert()], at=1.0)
    firing.notified([alert(firing=False)], at=2.0)
    assert guards(firing) == []


def test_another_series_of_the_guard_still_fires() -> None:
    firing = ActiveAlerts()
    firing.notified([alert(mark="a"), alert(mark="b")], at=1.0)
    firing.notified([alert(mark="a", firing=False)], at=2.0)
    assert guards(firing) == ["Errors"]


def test_an_older_resolution_does_not_end_a_newer_firing() -> None:
    firing = ActiveAlerts()
    firing.notified([alert(starts_at=200.0)], at=1.0)
    firing.notified([alert(starts_at=150.0, firing=False)], at=2.0)
    assert guards(firing) == ["Errors"]


def test_an_alert_notified_from_before_the_run_is_not_trusted() -> None:
    firing = ActiveAlerts()
    firing.notified([alert(starts_at=50.0)], at=1.0)
    assert guards(firing, since=START_OF_RUN) == []


def test_an_alert_from_before_the_run_counts_once_polled() -> None:
    firing = ActiveAlerts()
    firing.notified([alert(starts_at=50.0)], at=1.0)
    firing.polled([alert(starts_at=50.0)], asked_at=2.0)
    assert guards(firing, since=START_OF_RUN) == ["Errors"]


def test_it_counts_still_when_it_is_notified_again() -> None:
    firing = ActiveAlerts()
    firing.polled([alert(starts_at=50.0)], asked_at=1.0)
    firing.notified([alert(starts_at=50.0)], at=2.0)
    assert guards(firing, since=START_OF_RUN) == ["Errors"]


def test_it_counts_when_the_notification_came_while_the_poll_was_under_way() -> None:
    firing = ActiveAlerts()
    firing.notified([alert(starts_at=50.0)], at=2.0)
    firing.polled([alert(starts_at=50.0)], asked_at=1.0)
    assert guards(firing, since=START_OF_RUN) == ["Errors"]


def test_a_poll_is_the_whole_truth() -> None:
    firing = ActiveAlerts()
    firing.notified([alert("Gone")], at=1.0)
    firing.polled([alert("Here")], asked_at=2.0)
    assert guards(firing) == ["Here"]


def test_what_was_notified_while_a_poll_was_under_way_stays() -> None:
    firing = ActiveAlerts()
    firing.notified([alert()], at=2.0)
    firing.polled([], asked_at=1.0)
    assert guards(firing) == ["Errors"]


def test_what_resolved_while_a_poll_was_under_way_stays_resolved() -> None:
    firing = ActiveAlerts()
    firing.notified([alert()], at=0.0)
    firing.notified([alert(firing=False)], at=2.0)
    firing.polled([alert()], asked_at=1.0)
    assert guards(firing) == []


def test_what_fires_anew_since_it_resolved_is_taken_from_a_poll() -> None:
    firing = ActiveAlerts()
    firing.notified([alert(starts_at=150.0, firing=False)], at=2.0)
    firing.polled([alert(starts_at=200.0)], asked_at=1.0)
    assert guards(firing) == ["Errors"]


def test_the_next_poll_is_believed_again() -> None:
    firing = ActiveAlerts()
    firing.notified([alert(firing=False)], at=1.0)
    firing.polled([alert()], asked_at=2.0)
    assert guards(firing) == ["Errors"]


_MARKS = st.sampled_from(["a", "b", "c"])


@given(st.lists(st.tuples(_MARKS, st.booleans(), st.integers(0, 3))), st.sets(_MARKS))
def test_after_a_poll_without_news_exactly_what_it_lists_fires(
    told: list[tuple[str, bool, int]], listed: set[str]
) -> None:
    firing = ActiveAlerts()
    for at, (mark, fires, starts_at) in enumerate(told):
        firing.notified([alert(mark=mark, firing=fires, starts_at=starts_at)], at=float(at))
    firing.polled([alert(mark=mark) for mark in listed], asked_at=float(len(told)))
    assert {found.fingerprint for found in firing.of("shop", since=1e9)} == listed
