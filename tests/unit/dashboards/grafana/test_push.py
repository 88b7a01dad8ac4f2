"""Dashboards reach a Grafana that exists: all or none, what differs only; refusals say which and what to do.

No Grafana can be installed here, so an HTTP server on loopback speaks its documented API.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from rollguard.cli.main import cli
from rollguard.dashboards.grafana.push import Grafana, GrafanaError
from tests.factories import ROOT

TOKEN = "glsa_" + "t" * 40
FOLDER = "rollguard"


class FakeGrafana(ThreadingHTTPServer):
    """Folders and dashboards in memory, behind the paths and answers that Grafana documents."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folders: dict[str, str] = {}
        self.dashboards: dict[str, dict[str, Any]] = {}
        self.in_folder: dict[str, str] = {}
        self.writes: list[str] = []
        self.refuse: Callable[[str, str], tuple[int, dict[str, Any]] | None] = lambda method, path: None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: FakeGrafana

    def do_GET(self) -> None:
        self._answer(None)

    def do_POST(self) -> None:
        self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def do_DELETE(self) -> None:
        self._answer(None)

    def _answer(self, body: Any) -> None:
        uid = body["dashboard"]["uid"] if body and "dashboard" in body else self.path.rpartition("/")[2]
        refused = self.server.refuse(self.command, uid)
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            refused = 401, {"message": "Invalid API key"}
        code, content = refused or self._done(body, uid)
        text = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _done(self, body: Any, uid: str) -> tuple[int, dict[str, Any]]:
        grafana = self.server
        if self.command != "GET":
            grafana.writes.append(f"{self.command} {uid}")
        match self.command, self.path.split("/")[2]:
            case "GET", "folders":
                found = uid in grafana.folders
                return (200, {"uid": uid}) if found else (404, {"message": "folder not found"})
            case "POST", "folders":
                grafana.folders[body["uid"]] = body["title"]
                return 200, {"uid": body["uid"]}
            case "GET", _:
                if uid not in grafana.dashboards:
                    return 404, {"message": "Dashboard not found"}
                return 200, {
                    "dashboard": grafana.dashboards[uid],
                    "meta": {"folderUid": grafana.in_folder[uid]},
                }
            case "DELETE", _:
                del grafana.dashboards[uid], grafana.in_folder[uid]
                return 200, {"title": uid}
        return self._saved(body, uid)

    def _saved(self, body: Any, uid: str) -> tuple[int, dict[str, Any]]:
        stored, wanted = self.server.dashboards.get(uid), body["dashboard"]
        if stored and not body["overwrite"] and stored["version"] != wanted.get("version"):
            return 412, {
                "status": "version-mismatch",
                "message": "The dashboard has been changed by someone else",
            }
        version = (stored["version"] if stored else 0) + 1
        self.server.dashboards[uid] = {**wanted, "id": 7, "version": version, "schemaVersion": 41}
        self.server.in_folder[uid] = body["folderUid"]
        return 200, {"uid": uid, "version": version, "status": "success"}

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[FakeGrafana]:
    with FakeGrafana() as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield found
        found.shutdown()
        thread.join()


@pytest.fixture
def grafana(server: FakeGrafana) -> Iterator[Grafana]:
    found = Grafana(server.url, TOKEN, sleep=lambda _: None)
    yield found
    found.close()


def board(uid: str, **more: Any) -> dict[str, Any]:
    return {
        "uid": uid,
        "title": uid.upper(),
        "panels": [{"id": 1, "title": "p"}],
        "schemaVersion": 39,
        **more,
    }


THREE = [board("a"), board("b"), board("c")]


def test_new_dashboards_are_written_into_a_folder_made_for_them(
    grafana: Grafana, server: FakeGrafana
) -> None:
    changes = grafana.push(THREE, FOLDER, "Rollguard")
    assert [change.kind for change in changes] == ["new"] * 3
    assert server.folders == {FOLDER: "Rollguard"}
    assert server.in_folder == dict.fromkeys("abc", FOLDER)


def test_a_second_push_writes_nothing(grafana: Grafana, server: FakeGrafana) -> None:
    grafana.push(THREE, FOLDER, "Rollguard")
    server.writes.clear()
    assert {change.kind for change in grafana.push(THREE, FOLDER, "Rollguard")} == {"unchanged"}
    assert server.writes == []


def test_what_grafana_added_by_itself_is_no_change(grafana: Grafana, server: FakeGrafana) -> None:
    grafana.push(THREE, FOLDER, "Rollguard")
    server.dashboards["a"]["panels"][0]["pluginVersion"] = "13.0.0"
    assert grafana.push(THREE, FOLDER, "Rollguard")[0].kind == "unchanged"


def test_only_what_differs_is_written_and_the_diff_says_what(grafana: Grafana, server: FakeGrafana) -> None:
    grafana.push(THREE, FOLDER, "Rollguard")
    server.writes.clear()
    changes = grafana.push(
        [board("a"), board("b", panels=[{"id": 1, "title": "q"}]), board("c")], FOLDER, "R"
    )
    assert [change.kind for change in changes] == ["unchanged", "changed", "unchanged"]
    assert '-   "title": "p"' in changes[1].diff
    assert '+   "title": "q"' in changes[1].diff
    assert server.writes == ["POST b"]


def test_a_dashboard_in_another_folder_is_moved(grafana: Grafana, server: FakeGrafana) -> None:
    grafana.push(THREE, "elsewhere", "Elsewhere")
    assert {change.kind for change in grafana.push(THREE, FOLDER, "Rollguard")} == {"moved"}
    assert set(server.in_folder.values()) == {FOLDER}


def test_a_dry_run_writes_nothing(grafana: Grafana, server: FakeGrafana) -> None:
    assert [change.kind for change in grafana.push(THREE, FOLDER, "Rollguard", dry_run=True)] == ["new"] * 3
    assert server.writes == []


def _refusing(uid: str, code: int, message: str, method: str = "POST") -> Callable[[str, str], Any]:
    return lambda asked, of: (code, {"message": message}) if (asked, of) == (method, uid) else None


@pytest.mark.parametrize(
    ("code", "message", "hint"),
    [
        (400, "Cannot save provisioned dashboard", "provisioned"),
        (403, "Access denied", "Editor"),
        (412, "The dashboard has been changed by someone else", "push again"),
        (500, "database is locked", "read its log"),
        (503, "", "read its log"),
    ],
)
def test_a_refusal_names_the_dashboard_and_leaves_all_as_it_was(
    grafana: Grafana, server: FakeGrafana, code: int, message: str, hint: str
) -> None:
    grafana.push([board("a")], FOLDER, "Rollguard")
    before = server.dashboards["a"]["title"]
    server.refuse = _refusing("c", code, message)
    with pytest.raises(GrafanaError) as refused:
        grafana.push([board("a", title="Other"), board("b"), board("c")], FOLDER, "Rollguard")
    text = str(refused.value)
    assert "C (c): Grafana answered" in text
    assert str(code) in text
    assert message in text
    assert hint in text
    assert "Nothing was changed" in text
    assert set(server.dashboards) == {"a"}
    assert server.dashboards["a"]["title"] == before


def test_a_dry_run_against_another_server_than_grafana_says_so() -> None:
    elsewhere = httpx.MockTransport(lambda _: httpx.Response(404, text="404 page not found"))
    with pytest.raises(GrafanaError, match="Is --url the base URL of Grafana"):
        Grafana("http://127.0.0.1:1", TOKEN, transport=elsewhere).push(
            THREE, FOLDER, "Rollguard", dry_run=True
        )


def test_a_wrong_token_is_told_before_anything_is_written(server: FakeGrafana) -> None:
    grafana = Grafana(server.url, "wrong")
    with pytest.raises(GrafanaError, match=r"401.*\n.*--token-file"):
        grafana.push(THREE, FOLDER, "Rollguard")
    assert server.writes == []


def test_somebody_who_saved_it_since_it_was_read_is_not_overwritten(
    grafana: Grafana, server: FakeGrafana
) -> None:
    grafana.push([board("a")], FOLDER, "Rollguard")

    def save_meanwhile(method: str, uid: str) -> None:
        if method == "GET" and uid == FOLDER:
            server.dashboards["a"]["version"] += 1

    server.refuse = save_meanwhile
    with pytest.raises(GrafanaError, match="412"):
        grafana.push([board("a", title="Other")], FOLDER, "Rollguard")
    assert server.dashboards["a"]["title"] == "A"


def test_a_grafana_out_of_breath_is_asked_again(grafana: Grafana, server: FakeGrafana) -> None:
    left = [503, 502]
    server.refuse = lambda method, uid: (left.pop(), {}) if method == "POST" and uid == "b" and left else None
    grafana.push(THREE, FOLDER, "Rollguard")
    assert set(server.dashboards) == {"a", "b", "c"}


def test_what_could_not_be_put_back_is_named(grafana: Grafana, server: FakeGrafana) -> None:
    server.refuse = lambda method, uid: (
        (500, {}) if (method, uid) in {("POST", "b"), ("DELETE", "a")} else None
    )
    with pytest.raises(GrafanaError, match=r"but for: A \(a\)"):
        grafana.push(THREE, FOLDER, "Rollguard")


def test_nobody_at_the_address_is_told_with_the_dashboard(server: FakeGrafana) -> None:
    grafana = Grafana("http://127.0.0.1:1", TOKEN, sleep=lambda _: None)
    with pytest.raises(GrafanaError, match=r"A \(a\): nobody answers at http://127.0.0.1:1"):
        grafana.push(THREE, FOLDER, "Rollguard")


def test_the_command_pushes_what_generate_writes_and_says_how_many(
    server: FakeGrafana, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN + "\n")
    rollouts = str(ROOT / "rollouts" / "model-canary.yaml")
    command = ["dashboards", "push", "--url", server.url, "--token-file", str(token), "--rollouts", rollouts]
    dry = CliRunner().invoke(cli, [*command, "--dry-run"], catch_exceptions=False)
    assert dry.output.endswith("4 dashboards, 4 would change; nothing was written.\n")
    assert server.writes == []
    pushed = CliRunner().invoke(cli, command, catch_exceptions=False)
    assert "new: model-canary (rollguard-model-canary)\n" in pushed.output
    assert pushed.output.endswith("4 dashboards, 4 changed.\n")
    again = CliRunner().invoke(cli, [*command, "--json"], catch_exceptions=False)
    assert {change["kind"] for change in json.loads(again.output)} == {"unchanged"}
