"""The control plane's HTTP: what is refused, what is answered, and what a failing disk may not do."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollguard.control.decisions import Clock
from rollguard.ledger import GENESIS, Ledger, LedgerError
from rollguard.server import app as server
from rollguard.server.openapi import VERBS
from rollguard.state import State
from rollguard.workers.ledger_probe import PATIENCE_SECONDS

if TYPE_CHECKING:
    from tests.unit.conftest import App

NAME = "model-canary"
NOW = 1_700_000_000.0
FLAG = f"/ofrep/v1/evaluate/flags/{NAME}"


def alert(guard: str = "DriftDetected", **changes: Any) -> dict[str, Any]:
    labels = {"rollout": NAME, "guard": guard, "alertname": guard, **changes.pop("labels", {})}
    moment = {"startsAt": "2023-11-14T22:13:20Z", "fingerprint": guard}
    return {"status": "firing", "labels": labels, "annotations": {}, **moment, **changes}


def webhook(*alerts: Any) -> bytes:
    return json.dumps({"version": "4", "alerts": alerts or [alert()]}).encode()


@pytest.fixture
def running(app: App) -> App:
    """Return an application whose rollout is fully on."""
    app.control.start(NAME, actor="ann")
    while app.control.state(NAME).stage != "full":
        app.control.promote(NAME, actor="ann", early=True)
    return app


def status_of(app: App) -> str:
    return app.control.state(NAME).status


# POST /alerts


def test_a_notification_is_decided_before_it_is_answered(running: App) -> None:
    answer = running.post("/alerts", content=webhook())
    assert answer.status_code == 200
    assert [entry["guard"] for entry in answer.json()["decided"]] == ["DriftDetected"]
    assert running.ledger.entries()[-1].kind == "rollback"


def test_a_notification_is_counted_and_lets_alertmanager_be_asked(running: App) -> None:
    running.post("/alerts", content=webhook())
    assert running.sample("rollguard_notifications_total") == 1
    assert running.woken == [True]


@pytest.mark.parametrize(
    ("body", "token", "status", "reason"),
    [
        (b"not JSON", None, 401, "unauthorized"),
        (webhook(), None, 401, "unauthorized"),
        (webhook(), "another-token-0123456789", 401, "unauthorized"),
        (webhook(), "\u00e9" * 16, 401, "unauthorized"),
        (b"not JSON", "right", 400, "syntax"),
        (b"", "right", 400, "syntax"),
        (b"[]", "right", 400, "shape"),
        (webhook().replace(b'"4"', b'"3"'), "right", 400, "version"),
        (webhook() + b" " * (1 << 20), "right", 413, "too_large"),
    ],
    ids=[
        "no token, no JSON",
        "no token",
        "wrong token",
        "odd token",
        "no JSON",
        "nothing",
        "shape",
        "version",
        "size",
    ],
)
def test_what_is_refused_is_counted_and_decides_nothing(
    running: App, body: bytes, token: str | None, status: int, reason: str
) -> None:
    options = {} if token == "right" else {"token": None}
    headers = {"authorization": f"Bearer {token}".encode("latin-1")} if token and options else {}
    answer = running.post("/alerts", content=body, headers=headers, **options)
    assert answer.status_code == status
    assert answer.json()["error"]
    assert running.sample("rollguard_notifications_rejected_total", reason=reason) == 1
    assert (status_of(running), running.woken) == ("ROLLING_OUT", [])


@pytest.mark.parametrize("scheme", ["Basic", "", "bearer token"])
def test_a_token_needs_its_scheme(running: App, scheme: str) -> None:
    headers = {"authorization": f"{scheme} a-token-of-a-test-0123456789".strip()}
    assert running.post("/alerts", token=None, headers=headers, content=webhook()).status_code == 401


def test_a_scheme_may_be_written_in_any_case(running: App) -> None:
    headers = {"authorization": "bEARER a-token-of-a-test-0123456789"}
    assert running.post("/alerts", token=None, headers=headers, content=webhook()).status_code == 200


async def chunks(total: int, sent: list[int]) -> AsyncIterator[bytes]:
    for _ in range(total // 65536):
        sent.append(65536)
        yield b" " * 65536


def test_a_body_of_unknown_length_is_cut_off_at_a_mebibyte(running: App) -> None:
    answer = running.post("/alerts", content=chunks(8 << 20, []))
    assert answer.status_code == 413
    assert running.sample("rollguard_notifications_rejected_total", reason="too_large") == 1


def test_a_length_that_lies_does_not_get_more_in(running: App) -> None:
    answer = running.post("/alerts", content=chunks(8 << 20, []), headers={"content-length": "10"})
    assert answer.status_code == 413


def test_a_payload_of_exactly_a_mebibyte_is_read(running: App) -> None:
    body = webhook()
    assert running.post("/alerts", content=body + b" " * ((1 << 20) - len(body))).status_code == 200


def test_a_broken_alert_is_counted_and_hides_no_other(running: App) -> None:
    answer = running.post("/alerts", content=webhook({"status": "odd"}, alert()))
    assert len(answer.json()["decided"]) == 1
    assert running.sample("rollguard_alerts_broken_total") == 1


def test_an_alert_of_an_unknown_rollout_is_accepted_and_counted(running: App) -> None:
    answer = running.post("/alerts", content=webhook(alert(labels={"rollout": "nobody"})))
    assert (answer.status_code, answer.json()) == (200, {"decided": []})
    assert running.sample("rollguard_alerts_unknown_total") == 1


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_notifications_are_posted(running: App, method: str) -> None:
    assert running.call(method, "/alerts", content=webhook()).status_code == 405


# Storage that fails


@pytest.fixture
def on_small_disk(small_disk: Path, make_app: Callable[..., App]) -> App:
    app = make_app(ledger=Ledger.open(f"sqlite:///{small_disk / 'ledger.db'}", busy_seconds=0.1))
    app.control.start(NAME, actor="ann")
    while app.control.state(NAME).stage != "full":
        app.control.promote(NAME, actor="ann", early=True)
    return app


def fill(folder: Path) -> Path:
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while file.write(b"x" * size) == size:
                    pass
            except OSError:
                continue
    return ballast


def large() -> bytes:
    """Return a notification whose evidence needs new pages of the ledger."""
    return webhook(alert(annotations={"text": "x" * 50_000}))


def served(app: App) -> str:
    answer = app.post(FLAG, json={"context": {"targetingKey": "user-1"}})
    return str(answer.json()["variant"])


def test_notifications_beyond_those_that_wait_for_the_ledger_are_503(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MOST_NOTIFICATIONS", 1)
    waiting, release = threading.Event(), threading.Event()

    def hang() -> dict[str, State]:
        waiting.set()
        release.wait(30)
        return {}

    monkeypatch.setattr(app.ledger, "states", hang)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(app.post, "/alerts", content=webhook())
        assert waiting.wait(10)
        second = app.post("/alerts", content=webhook())
        release.set()
        assert (first.result().status_code, second.status_code) == (200, 503)
    assert app.sample("rollguard_notifications_rejected_total", reason="storage") == 1


def test_a_full_disk_is_503_and_leaves_the_flag(on_small_disk: App, small_disk: Path) -> None:
    fill(small_disk)
    answer = on_small_disk.post("/alerts", content=large())
    assert (answer.status_code, served(on_small_disk)) == (503, "candidate")
    assert on_small_disk.sample("rollguard_notifications_rejected_total", reason="storage") == 1


def test_a_retry_rolls_back_once_there_is_room(on_small_disk: App, small_disk: Path) -> None:
    ballast = fill(small_disk)
    assert on_small_disk.post("/alerts", content=large()).status_code == 503
    ballast.unlink()
    assert on_small_disk.post("/alerts", content=large()).status_code == 200
    assert served(on_small_disk) == "active"


def test_a_disk_that_became_read_only_is_503_and_leaves_the_flag(
    on_small_disk: App, small_disk: Path
) -> None:
    on_small_disk.ledger.close()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    answer = on_small_disk.post("/alerts", content=webhook())
    assert (answer.status_code, served(on_small_disk)) == (503, "candidate")
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    assert on_small_disk.post("/alerts", content=webhook()).status_code == 200


def test_a_ledger_that_is_gone_is_503_and_leaves_the_flag(running: App, tmp_path: Path) -> None:
    (tmp_path / "ledger.db").unlink()
    assert running.post("/alerts", content=webhook()).status_code == 503
    assert served(running) == "candidate"


# Flags


def test_a_flag_is_evaluated_without_a_token(running: App) -> None:
    answer = running.post(FLAG, token=None, json={"context": {"targetingKey": "user-1"}})
    assert answer.status_code == 200
    assert answer.json() == {
        "key": NAME,
        "value": True,
        "variant": "candidate",
        "reason": "STATIC",
        "metadata": {
            **{"rollout": NAME, "position": "full", "stage": "full", "run": 1, "seq": 5},
            **{"percent": 100, "assignment": "split"},
        },
    }


def test_a_flag_that_was_rolled_back_says_why(running: App) -> None:
    running.post("/alerts", content=webhook())
    answer = running.post(FLAG, json={"context": {"targetingKey": "user-1"}}).json()
    assert (answer["variant"], answer["metadata"]["reason"]) == ("active", "DriftDetected")


def test_no_open_path_tells_a_persons_name_or_words(running: App) -> None:
    asked = {"actor": "ann", "reason": "the Miller account complains"}
    assert running.post(f"/api/v1/rollouts/{NAME}/rollback", json=asked).status_code == 200
    context = {"context": {"targetingKey": "user-1"}}
    told = running.post(FLAG, token=None, json=context).text
    told += running.post("/ofrep/v1/evaluate/flags", token=None, json=context).text
    told += running.get("/metrics", token=None).text
    assert NAME in told
    assert "Miller" not in told
    assert "ann" not in re.findall(r"[a-z]+", told)


@pytest.mark.parametrize("actor", ["guard", "cascade", "advance", " advance "])
def test_nobody_acts_in_the_name_of_the_control_plane(running: App, actor: str) -> None:
    asked = {"actor": actor, "reason": "the Miller account complains"}
    answer = running.post(f"/api/v1/rollouts/{NAME}/rollback", json=asked)
    assert (answer.status_code, "name a person" in answer.text) == (400, True)
    assert status_of(running) == "ROLLING_OUT"


def test_an_unknown_flag_is_404(app: App) -> None:
    answer = app.post("/ofrep/v1/evaluate/flags/nothing", json={})
    assert answer.status_code == 404
    assert (answer.json()["key"], answer.json()["errorCode"]) == ("nothing", "FLAG_NOT_FOUND")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"not JSON", "PARSE_ERROR"),
        (b"[]", "PARSE_ERROR"),
        (b"3", "PARSE_ERROR"),
        (b"[" * 50_000, "PARSE_ERROR"),
        (b'{"context": []}', "INVALID_CONTEXT"),
        (b'{"context": false}', "INVALID_CONTEXT"),
        (b'{"context": "x"}', "INVALID_CONTEXT"),
        (b'{"context": {"targetingKey": 7}}', "INVALID_CONTEXT"),
        (rb'{"context": {"targetingKey": "\ud800"}}', "INVALID_CONTEXT"),
        (b" " * (64 * 1024 + 1), "PARSE_ERROR"),
        (b"\xff", "PARSE_ERROR"),
    ],
)
def test_a_context_that_is_none_is_400(running: App, body: bytes, code: str) -> None:
    answer = running.post(FLAG, content=body)
    assert (answer.status_code, answer.json()["errorCode"]) == (400, code)
    assert answer.json()["errorDetails"]


@pytest.mark.parametrize("body", [b"", b"{}", b'{"context": null}', b'{"context": {}}'])
def test_a_caller_without_a_targeting_key_gets_the_fallback(app: App, body: bytes) -> None:
    app.control.start(NAME, actor="ann")
    app.control.promote(NAME, actor="ann", early=True)
    answer = app.post(FLAG, content=body)
    assert (answer.status_code, answer.json()["variant"]) == (200, "active")


@pytest.mark.parametrize("key", ["", " ", "\u0000", "é" * 1000, "{}", "../../etc", "\U0001f600"])
def test_any_targeting_key_gets_one_of_the_variants_each_time(app: App, key: str) -> None:
    app.control.start(NAME, actor="ann")
    app.control.promote(NAME, actor="ann", early=True)
    body = json.dumps({"context": {"targetingKey": key}})
    answers = [app.post(FLAG, content=body.encode()) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(st.sampled_from(["targetingKey", "$flagd", "", "email"]) | st.text(max_size=5), _VALUES)
)
def test_no_context_breaks_the_server(app: App, context: dict[str, Any]) -> None:
    if app.control.state(NAME).run == 0:
        app.control.start(NAME, actor="ann")
        app.control.promote(NAME, actor="ann", early=True)
    body = json.dumps({"context": context}).encode()
    assert app.post(FLAG, content=body).status_code in {200, 400}


# Health


def test_it_is_alive_and_ready_without_a_token(app: App) -> None:
    assert [app.get(path, token=None).status_code for path in ("/livez", "/readyz")] == [200, 200]


def test_it_is_alive_but_not_ready_without_its_ledger(app: App, tmp_path: Path) -> None:
    (tmp_path / "ledger.db").unlink()
    app.probe.ask()
    assert (app.get("/livez").status_code, app.get("/readyz").status_code) == (200, 503)


def test_while_the_ledger_hangs_it_answers_from_the_last_probe(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()

    def hang(*_: object) -> Any:
        release.wait(60)
        raise LedgerError("it hung")

    for name in ("check", "head", "probe", "states", "entries"):
        monkeypatch.setattr(app.ledger, name, hang)
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(app.probe.ask)
        answers = [app.get(path, token=None) for path in ("/readyz", "/metrics")]
        release.set()
        asking.result()
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].text == "ready\nprobed 0.0 s ago\n"


def test_a_ledger_that_hangs_for_long_is_not_ready(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.probe, "_clock", Clock(lambda: NOW, lambda: NOW + PATIENCE_SECONDS))
    answer = app.get("/readyz", token=None)
    text = "not ready: the ledger has not answered for 10 s.\nprobed 10.0 s ago\n"
    assert (answer.status_code, answer.text) == (503, text)
    found = [app.sample(f"rollguard_ledger_{name}") for name in ("readable", "writable")]
    assert found == [0, 0]


# API


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/rollouts"),
        ("GET", f"/api/v1/rollouts/{NAME}"),
        ("POST", f"/api/v1/rollouts/{NAME}/start"),
        ("GET", "/api/v1/history"),
        ("GET", "/api/v1/verify"),
    ],
)
def test_the_api_needs_the_token(app: App, method: str, path: str) -> None:
    assert app.call(method, path, token=None).status_code == 401
    assert status_of(app) == "DISABLED"


def test_a_verb_is_an_entry(app: App) -> None:
    answer = app.post(f"/api/v1/rollouts/{NAME}/start", json={"actor": "ann", "reason": "v2"})
    assert answer.status_code == 200
    assert (answer.json()["actor"], answer.json()["to_stage"]) == ("ann", "shadow")
    assert answer.json()["undo"] == f"rollguard rollback {NAME} --reason …"


def test_the_verbs_take_a_rollout_through_its_run(app: App) -> None:
    for verb, more in (("start", {}), ("promote", {"early": True}), ("rollback", {})):
        asked = {"actor": "ann", **more}
        assert app.post(f"/api/v1/rollouts/{NAME}/{verb}", json=asked).status_code == 200
    assert status_of(app) == "ROLLBACK"


def test_a_rollback_may_lead_to_an_earlier_stage(running: App) -> None:
    answer = running.post(f"/api/v1/rollouts/{NAME}/rollback", json={"actor": "ann", "to": "canary"})
    assert (answer.json()["kind"], answer.json()["to_stage"]) == ("step_back", "canary")


def test_the_status_says_who_paused_and_whether_somebody_has_looked(running: App) -> None:
    running.post(f"/api/v1/rollouts/{NAME}/pause", json={"actor": "ann"})
    row = running.get(f"/api/v1/rollouts/{NAME}").json()
    assert (row["paused_by"], row["acknowledged"]) == ("ann", True)
    running.post(f"/api/v1/rollouts/{NAME}/rollback", json={"actor": "ann"})
    row = running.get(f"/api/v1/rollouts/{NAME}").json()
    assert (row["paused_by"], row["acknowledged"]) == ("", False)


def test_a_verb_without_a_body_is_by_somebody_unknown(app: App) -> None:
    assert app.post(f"/api/v1/rollouts/{NAME}/start").json()["actor"] == "unknown"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (f"/api/v1/rollouts/{NAME}/promote", b"{}", 409),
        ("/api/v1/rollouts/nobody/start", b"{}", 404),
        (f"/api/v1/rollouts/{NAME}/explode", b"{}", 404),
        (f"/api/v1/rollouts/{NAME}/start", b"[]", 400),
        (f"/api/v1/rollouts/{NAME}/start", b"not JSON", 400),
        (f"/api/v1/rollouts/{NAME}/start", b'{"actor": 3}', 400),
        (f"/api/v1/rollouts/{NAME}/start", b" " * 70_000, 413),
        (f"/api/v1/rollouts/{NAME}/promote", b'{"from": 3}', 400),
        (f"/api/v1/rollouts/{NAME}/start", b'{"from": "disabled"}', 400),
        (f"/api/v1/rollouts/{NAME}/rollback", b'{"from": "full"}', 400),
        (f"/api/v1/rollouts/{NAME}/promote", b'{"early": 1}', 400),
        (f"/api/v1/rollouts/{NAME}/start", b'{"early": true}', 400),
        (f"/api/v1/rollouts/{NAME}/start", b'{"to": "canary"}', 400),
        (f"/api/v1/rollouts/{NAME}/rollback", b'{"to": 3}', 400),
    ],
)
def test_what_cannot_be_done_says_why(app: App, path: str, body: bytes, status: int) -> None:
    answer = app.post(path, content=body)
    assert answer.status_code == status
    assert answer.json()["error"]
    assert app.ledger.entries() == []


_any_json = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=9), lambda inner: st.lists(inner, max_size=2)
)
_any_body = (
    st.dictionaries(st.sampled_from(["actor", "reason", "from", "early", "else"]), _any_json) | _any_json
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(verb=st.sampled_from(sorted(VERBS)), body=_any_body)
def test_a_refused_call_changes_nothing(app: App, verb: str, body: Any) -> None:
    before = len(app.ledger.entries())
    answer = app.post(f"/api/v1/rollouts/{NAME}/{verb}", content=json.dumps(body).encode())
    assert answer.status_code in {200, 400, 409, 429}
    entered = answer.status_code == 200 and verb != "dry_start"
    assert len(app.ledger.entries()) == before + entered


def test_a_promotion_from_where_the_rollout_is_no_longer_is_refused(app: App) -> None:
    app.post(f"/api/v1/rollouts/{NAME}/start")
    asked = {"actor": "ann", "from": "shadow", "early": True}
    first, second = (app.post(f"/api/v1/rollouts/{NAME}/promote", json=asked) for _ in range(2))
    assert (first.status_code, first.json()["to_stage"]) == (200, "canary")
    assert second.status_code == 409
    assert second.json()["error"] == f"{NAME} is in canary by now, no longer in shadow."
    assert len(app.ledger.entries()) == 2


def test_a_long_reason_is_shortened(app: App) -> None:
    answer = app.post(f"/api/v1/rollouts/{NAME}/start", json={"actor": "a" * 999, "reason": "b" * 9999})
    assert (len(answer.json()["actor"]), len(answer.json()["reason"])) == (200, 2000)


def test_an_overview_shows_where_a_rollout_stands(running: App) -> None:
    (row,) = running.get("/api/v1/rollouts").json()
    assert (row["rollout"], row["state"], row["stage"], row["percent"], row["run"]) == (
        NAME,
        "ROLLING_OUT",
        "full",
        100,
        1,
    )


def test_an_overview_shows_which_guards_are_armed_and_fire(running: App) -> None:
    running.post("/alerts", content=webhook(alert("WinRateDropNoData"), alert("CanaryWinrateRollback")))
    row = running.get(f"/api/v1/rollouts/{NAME}").json()
    shown = {guard["guard"]: (guard["armed"], guard["firing"]) for guard in row["guards"]}
    assert shown["WinRateDropNoData"] == (True, True)
    assert shown["CanaryWinrateRollback"] == (False, False), "it does not count in shadow"
    assert shown["DriftDetected"] == (True, False)
    assert row["held_by"] == ["WinRateDropNoData"]


def test_an_overview_says_whether_alertmanager_has_answered_of_late(app: App) -> None:
    assert app.get(f"/api/v1/rollouts/{NAME}").json()["alerts_unknown"] is True
    app.control.polled([], app.control.clock.monotonic())
    assert app.get(f"/api/v1/rollouts/{NAME}").json()["alerts_unknown"] is False


def test_an_overview_shows_what_a_firing_guard_says(running: App) -> None:
    said = {"description": "Value 0.4: below 0.5."}
    running.post("/alerts", content=webhook(alert("WinRateDropNoData", annotations=said)))
    row = running.get(f"/api/v1/rollouts/{NAME}").json()
    shown = {guard["guard"]: guard["description"] for guard in row["guards"]}
    assert (shown["WinRateDropNoData"], shown["DriftDetected"]) == ("Value 0.4: below 0.5.", "")


def test_an_unknown_rollout_is_404(app: App) -> None:
    assert app.get("/api/v1/rollouts/nobody").status_code == 404


def test_the_history_is_the_ledger(running: App) -> None:
    kinds = [entry["kind"] for entry in running.get("/api/v1/history").json()]
    assert kinds == ["start", "promote", "promote", "promote", "promote"]


def test_the_history_is_of_one_rollout_and_after_an_entry(running: App) -> None:
    assert running.get("/api/v1/history?rollout=nobody").status_code == 404
    assert len(running.get(f"/api/v1/history?rollout={NAME}").json()) == 5
    assert [entry["seq"] for entry in running.get("/api/v1/history?after=3").json()] == [4, 5]


@pytest.mark.parametrize("after", ["x", "-1", "", "1.5", "9" * 16])
def test_an_entry_is_named_by_its_number(app: App, after: str) -> None:
    assert app.get("/api/v1/history", params={"after": after}).status_code == 400


def test_the_history_comes_in_pages(running: App) -> None:
    every = running.get("/api/v1/history").json()
    page = running.get("/api/v1/history?limit=2").json()
    rest = running.get(f"/api/v1/history?limit=1000&after={page[-1]['seq']}").json()
    assert (len(page), [*page, *rest]) == (2, every)


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "x", "٣"])
def test_a_page_is_limited(app: App, limit: str) -> None:
    assert app.get("/api/v1/history", params={"limit": limit}).status_code == 400


def test_an_unbroken_chain_is_verified(running: App) -> None:
    found = running.get("/api/v1/verify").json()
    assert (found["entries"], found["faults"]) == (5, [])


def test_a_tail_lost_under_way_is_found(running: App, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)) as connection:
        connection.execute("DROP TRIGGER entries_no_delete")
        connection.execute("DELETE FROM entries WHERE seq > 2")
    found = running.get("/api/v1/verify").json()
    assert found["faults"] == ["entry 3 is missing: the ledger had 5 entries, its tail is lost"]
    assert found["entries"] == 2


def test_a_head_kept_earlier_is_held_against_the_ledger(running: App) -> None:
    head = f"9:{GENESIS}"
    found = running.get("/api/v1/verify", params={"head": head}).json()
    assert found["faults"] == ["entry 6 is missing: the ledger had 9 entries, its tail is lost"]


@pytest.mark.parametrize("head", ["x", "5", "5:", "5:xyz", f"-1:{GENESIS}"])
def test_a_head_that_is_none_is_400(app: App, head: str) -> None:
    assert app.get("/api/v1/verify", params={"head": head}).status_code == 400


def test_it_is_not_ready_where_the_ledger_cannot_be_read(app: App, tmp_path: Path) -> None:
    app.ledger.close()
    for path in tmp_path.glob("ledger.db-*"):
        path.unlink()
    with (tmp_path / "ledger.db").open("r+b") as file:
        file.write(b"no longer a database" * 1000)
    app.probe.ask()
    assert app.get("/readyz").status_code == 503
    assert app.get("/api/v1/history").status_code == 503
    assert app.sample("rollguard_ledger_readable") == 0


def test_an_unknown_path_is_404(app: App) -> None:
    assert app.get("/nothing").status_code == 404
