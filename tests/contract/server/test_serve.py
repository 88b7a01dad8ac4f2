"""`rollguard serve` as a process: its HTTP from outside, its metrics in promtool, and kills."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from rollguard.cli.local.processes import ProcessError, free_port
from rollguard.generators.tools import binaries
from tests.contract.conftest import TOKEN, Served

NAME = "model-canary"


def sample(served: Served, series: str) -> float:
    headers = {"authorization": f"Bearer {TOKEN}"}  # without a token, the text may be a little old
    lines = httpx.get(f"{served.url}/metrics", headers=headers).text.splitlines()
    return float(next(line for line in lines if line.startswith(f"{series} ")).rpartition(" ")[2])


def rejected(served: Served, reason: str) -> float:
    return sample(served, f'rollguard_notifications_rejected_total{{reason="{reason}"}}')


# Before a start


def test_a_start_tries_its_preflight_and_a_dry_run_starts_nothing(
    tmp_path: Path, make_served: Callable[[Path], Served], monkeypatch: pytest.MonkeyPatch
) -> None:
    preflight = """
preflight:
  - {name: somebody agrees, run: [sh, -c, 'test -e agreed || { echo nobody agreed; exit 1; }']}
  - {name: the disk is there, run: ["true"]}
"""
    monkeypatch.setattr(Served, "MORE", preflight)
    served = make_served(tmp_path / "served")
    for options in ((), ("--dry-run",)):
        done = served.command("start", NAME, *options)
        assert (done.returncode, done.stdout) == (1, "")
        assert f"{NAME}: preflight failed: somebody agrees: sh -c test -e agreed" in done.stderr
        assert done.stderr.endswith(" ended with 1: nobody agreed.\n")
    (served.folder / "agreed").touch()
    dry = served.command("start", NAME, "--dry-run")
    assert (dry.returncode, dry.stdout) == (
        0,
        f"passed: somebody agrees\npassed: the disk is there\n{NAME}: run 1 would start in shadow\n",
    )
    assert json.loads(served.command("start", NAME, "--dry-run", "--json").stdout)["to_stage"] == "shadow"
    assert served.history() == []
    assert served.command("start", NAME).returncode == 0
    (entry,) = served.history()
    assert [item["name"] for item in entry["evidence"]["preflight"]] == [
        "somebody agrees",
        "the disk is there",
    ]
    again = served.command("start", NAME, "--dry-run")
    assert (again.returncode, "is in stage shadow" in again.stderr) == (1, True)


# Refusals, as a server of bytes sees them


def raw(served: Served, *parts: bytes) -> bytes:
    """Send bytes on a connection, and return the first line of the answer."""
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        try:
            for part in parts:
                connection.sendall(part)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has answered already
        with connection.makefile("rb") as answer:
            return answer.readline()


HEAD = f"POST /alerts HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n".encode()


def test_a_payload_over_a_mebibyte_is_refused_by_its_length(untouched: Served) -> None:
    before = rejected(untouched, "too_large")
    assert b" 413 " in raw(untouched, HEAD + b"content-length: 1048577\r\n\r\n" + b"x")
    assert rejected(untouched, "too_large") == before + 1


def test_a_payload_over_a_mebibyte_is_refused_without_a_length(untouched: Served) -> None:
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    before = rejected(untouched, "too_large")
    assert b" 413 " in raw(untouched, HEAD + b"transfer-encoding: chunked\r\n\r\n", *[chunk] * 17)
    assert rejected(untouched, "too_large") == before + 1


@pytest.mark.parametrize(
    ("body", "headers", "status", "reason"),
    [
        ("not JSON", {}, 400, "syntax"),
        ('{"version": "3", "alerts": []}', {}, 400, "version"),
        ('{"version": "4", "alerts": []}', {"authorization": "Bearer wrong"}, 401, "unauthorized"),
    ],
)
def test_what_is_refused_is_counted(
    untouched: Served, body: str, headers: dict[str, str], status: int, reason: str
) -> None:
    before = rejected(untouched, reason)
    assert untouched.post("/alerts", content=body, headers=headers).status_code == status
    assert rejected(untouched, reason) == before + 1
    assert untouched.history() == []


def test_an_alert_of_an_unknown_rollout_is_logged_once(untouched: Served) -> None:
    for _ in range(3):
        assert untouched.notify(labels={"rollout": "nobody"}).status_code == 200
    assert sample(untouched, "rollguard_alerts_unknown_total") == 3
    assert untouched.log().count("is of no loaded rollout") == 1


def test_a_connection_that_is_dropped_halfway_decides_nothing(untouched: Served) -> None:
    host, port = untouched.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(HEAD + b'content-length: 100\r\n\r\n{"version": "4"')
    assert httpx.get(f"{untouched.url}/livez").status_code == 200
    assert untouched.history() == []


def test_no_secret_is_logged(served: Served) -> None:
    served.post("/alerts", content="not JSON")
    served.notify()
    assert "a-token-of-a-test" not in served.log()


def test_an_answer_does_not_wait_for_an_acknowledgement(untouched: Served) -> None:
    """Without TCP_NODELAY each answer on a kept connection takes 40 ms."""
    with httpx.Client() as client:
        started = time.monotonic()
        for _ in range(50):
            client.get(f"{untouched.url}/livez")
        assert time.monotonic() - started < 1.0


# Durability


def test_what_was_answered_survives_a_kill(served: Served) -> None:
    served.take_to("full")
    served.notify()
    served.process.kill()
    served.start()
    assert [entry["kind"] for entry in served.history()].count("rollback") == 1
    assert sample(served, 'rollback_total{reason="DriftDetected",rollout="model-canary"}') == 1


def test_a_notification_that_comes_again_after_a_kill_decides_nothing_more(served: Served) -> None:
    served.take_to("full")
    served.notify()
    served.process.kill()
    served.start()
    assert served.notify().json() == {"decided": []}


def test_a_burst_of_notifications_is_one_rollback(served: Served) -> None:
    served.take_to("full")
    guards = ["DriftDetected", "DriftDetected", "OnnxParityFailure"] * 10
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(served.notify, guards))
    assert {answer.status_code for answer in answers} == {200}
    assert [entry["kind"] for entry in served.history()].count("rollback") == 1


def test_it_ends_on_a_signal_with_code_0(served: Served) -> None:
    os.kill(served.process.pid, signal.SIGTERM)
    assert served.process._process is not None
    assert served.process._process.wait(15) == 0


def test_a_full_disk_flips_nothing_until_there_is_room(
    small_disk: Path, make_served: Callable[[Path], Served]
) -> None:
    served = make_served(small_disk / "served")
    served.take_to("full")
    ballast = small_disk / "ballast"
    subprocess.run(["dd", "if=/dev/zero", f"of={ballast}", "bs=512"], capture_output=True, check=False)
    big = {"text": "x" * 50_000}
    assert served.notify(annotations=big).status_code == 503
    assert flag(served) == "candidate"
    ballast.unlink()
    assert served.notify(annotations=big).status_code == 200
    assert flag(served) == "active"


def flag(served: Served) -> str:
    answer = served.post(f"/ofrep/v1/evaluate/flags/{NAME}", json={"context": {"targetingKey": "u"}})
    return str(answer.json()["variant"])


def test_half_a_character_as_a_targeting_key_leaves_it_alive(in_canary: Served) -> None:
    body = rb'{"context": {"targetingKey": "\ud800"}}'
    assert in_canary.post(f"/ofrep/v1/evaluate/flags/{NAME}", content=body).status_code == 400
    assert httpx.get(f"{in_canary.url}/readyz").status_code == 200


# Metrics


def test_promtool_has_no_remark_about_the_metrics(
    served: Served, need_binary: Callable[[binaries.Binary], str]
) -> None:
    promtool = need_binary(binaries.PROMTOOL)
    served.take_to("full")
    served.notify()
    text = httpx.get(f"{served.url}/metrics").text
    done = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert done.stdout + done.stderr == ""


# The command line against it


KINDS = ("start", "promote", "pause", "resume", "step", "rollback", "acknowledge")


def test_the_command_line_takes_a_rollout_through_its_run(served: Served) -> None:
    assert json.loads(served.command("start", NAME, "--json").stdout)["kind"] == "start"
    for arguments in (
        ("promote", NAME, "--from", "shadow", "--early"),
        ("pause", NAME, "--reason", "a test session"),
        ("resume", NAME),
        ("rollback", NAME, "--to", "previous", "--reason", "too early"),
        ("rollback", NAME, "--reason", "customers complain"),
        ("acknowledge", NAME, "--reason", "INC-17", "--actor", "ann"),
    ):
        found = served.command(*arguments)
        assert found.returncode == 0
    lines = served.command("history").stdout.splitlines()
    assert lines[2].startswith("      skipped the approval of canary; skipped its hold, ")
    said = [line for line in lines if not line.startswith("      ")]
    assert [line.split()[3:7] for line in said] == [["model-canary", "run", "1", kind] for kind in KINDS]
    assert said[5].endswith(": customers complain")
    assert said[6].endswith("acknowledge  in rollback  by ann: INC-17")


def test_what_is_refused_is_1_and_says_why(untouched: Served) -> None:
    found = untouched.command("promote", NAME)
    assert found.returncode == 1
    assert found.stderr == (
        "refused: model-canary is in disabled: no stage is under way; "
        "`rollguard start model-canary` begins the next run.\n"
    )


def test_a_promotion_before_its_time_is_1_and_early_notes_what_it_skipped(untouched: Served) -> None:
    assert untouched.command("start", NAME).returncode == 0
    found = untouched.command("promote", NAME, "--from", "canary", "--early")
    assert (found.returncode, "in shadow by now, no longer in canary" in found.stderr) == (1, True)
    found = untouched.command("promote", NAME, "--from", "shadow")
    assert (found.returncode, "waits for the approval of canary; its hold," in found.stderr) == (1, True)
    found = untouched.command("promote", NAME, "--from", "shadow", "--early")
    assert found.stdout.splitlines()[-1] == f"undo: rollguard rollback {NAME} --to shadow --reason …"
    assert "note: skipped the approval of canary\n" in found.stderr
    assert "skipped the approval of canary; skipped its hold" in untouched.command("history", NAME).stdout
    found = untouched.command("rollback", NAME, "--to", "shadow", "--reason", "x")
    assert found.returncode == 0


def test_an_unknown_rollout_is_1(untouched: Served) -> None:
    assert untouched.command("start", "nobody").returncode == 1
    assert untouched.command("status", "nobody").returncode == 1
    found = untouched.command("history", "nobody")
    assert (found.returncode, found.stderr) == (1, "refused: nobody is no rollout; known: model-canary.\n")


def test_a_wrong_token_is_2_and_says_where_the_right_one_is(served: Served) -> None:
    served.token_file = served.folder / "another"
    served.token_file.write_text("another-token-0123456789")
    found = served.command("status")
    assert found.returncode == 2
    assert f"refuses the token in {served.token_file}.\n  Name the control plane's by" in found.stderr


def test_what_an_alert_said_stands_below_its_rollback_with_the_next_step(served: Served) -> None:
    served.take_to("full")
    served.notify(annotations={"description": "Value 0.41: below 0.5."})
    for command in ("status", "history"):
        said = served.command(command, NAME).stdout
        assert "rollback  full → rollback  by guard DriftDetected\n      Value 0.41: below 0.5.\n" in said
    assert f"next: rollguard acknowledge {NAME} --reason" in served.command("status", NAME).stdout


def test_a_second_control_plane_on_a_ledger_ends_and_names_the_first(served: Served, tmp_path: Path) -> None:
    second = Served(tmp_path / "second", ledger=served.ledger)
    second.process.start()
    with pytest.raises(ProcessError, match=f"in use by another control plane, process {served.process.pid}"):
        second.process.wait_until_ready(30)


def test_a_ledger_whose_tail_was_cut_off_under_way_is_1(served: Served) -> None:
    served.take_to("canary")
    with closing(sqlite3.connect(served.ledger, isolation_level=None)) as connection:
        connection.execute("DROP TRIGGER entries_no_delete")
        connection.execute("DELETE FROM entries WHERE seq = 2")
    found = served.command("verify")
    assert (found.returncode, "entry 2 is missing" in found.stderr) == (1, True)


@pytest.mark.parametrize(
    "arguments",
    [("status",), ("status", NAME), ("verify",)],
    ids=" ".join,
)
def test_what_is_printed_as_json_is_json(in_canary: Served, arguments: tuple[str, ...]) -> None:
    assert json.loads(in_canary.command(*arguments, "--json").stdout)


def test_history_prints_one_object_a_line(in_canary: Served) -> None:
    lines = in_canary.command("history", "--json").stdout.splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["start", "promote"]


def test_status_shows_where_a_rollout_stands(in_canary: Served) -> None:
    head, row = in_canary.command("status").stdout.splitlines()
    assert head.split()[:5] == ["ROLLOUT", "STATE", "STAGE", "PERCENT", "RUN"]
    assert row.split()[:5] == [NAME, "ROLLING_OUT", "canary", "10", "1"]


def test_status_of_one_shows_its_guards(in_canary: Served) -> None:
    shown = in_canary.command("status", NAME).stdout
    assert "CanaryWinrateRollback" in shown
    assert "ARMED" in shown


def test_status_says_when_nobody_knows_what_fires(in_canary: Served) -> None:
    said = "note: Alertmanager has not answered of late, so nobody knows what fires\n"
    assert in_canary.command("status").stderr == said


def test_a_terminal_without_the_signs_shows_others(in_canary: Served) -> None:
    found = in_canary.command("history", PYTHONIOENCODING="latin-1")
    assert (found.returncode, found.stderr) == (0, "")
    assert "disabled ? shadow" in found.stdout


def test_a_proxy_of_the_environment_is_not_asked(in_canary: Served) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    proxies = {"HTTP_PROXY": nobody, "ALL_PROXY": nobody, "NO_PROXY": "", "no_proxy": ""}
    assert in_canary.command("status", **proxies).returncode == 0


def test_verify_takes_a_head_kept_earlier(in_canary: Served) -> None:
    head = in_canary.command("verify").stdout.split("head ")[1].strip()
    assert in_canary.command("verify", "--head", head).returncode == 0
    later = f"9{head}"
    assert in_canary.command("verify", "--head", later).returncode == 1


def test_an_open_event_stream_tells_of_a_flip_and_does_not_keep_the_server_from_stopping(
    served: Served,
) -> None:
    with httpx.stream("GET", f"{served.url}/ofrep/v1/events", timeout=30) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = (line for line in stream.iter_lines() if line.startswith("data:"))
        assert "refetchEvaluation" in next(lines)
        served.take_to("shadow")
        assert "refetchEvaluation" in next(lines)
        served.process.stop()
        assert list(lines) == []
    assert "Traceback" not in served.log()
    assert "Cancel" not in served.log()


IGNORED = ["sh", "-c", "trap '' INT; exec \"$@\"", "sh"]
"""Hands SIGINT on as ignored, as nohup, cron and shells that start a job in the background do."""


@pytest.mark.parametrize("shell", [[], IGNORED], ids=["of a terminal", "in the background"])
def test_status_is_shown_again_until_it_is_interrupted(in_canary: Served, shell: list[str]) -> None:
    command = [*shell, sys.executable, "-m", "rollguard", "status", "--watch", "--json"]
    options = ("--server", in_canary.url, "--token-file", str(in_canary.token_file))
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(2):
            assert json.loads(process.stdout.readline())[0]["stage"] == "canary"
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
