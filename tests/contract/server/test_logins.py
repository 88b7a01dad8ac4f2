"""Logins in URLs: whatever goes wrong, none is logged, answered, kept or shown."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from rollguard.cli.local.processes import free_port
from tests import polling
from tests.contract.conftest import NAME, Served


class Refuses(BaseHTTPRequestHandler):
    """A server that refuses whatever it is asked."""

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_error(403)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_no_login_of_a_url_is_logged_answered_or_kept(tmp_path: Path) -> None:
    refusing = ThreadingHTTPServer(("127.0.0.1", 0), Refuses)
    threading.Thread(target=refusing.serve_forever, args=(0.05,), daemon=True).start()
    served = Served(tmp_path / "served")
    command = served.process.command
    there, nowhere = (f"http://ann:s3cret@127.0.0.1:{port}" for port in (refusing.server_port, free_port()))
    command[command.index("--alertmanager") + 1] = there
    command[command.index("--poll") + 1] = "1s"
    command[command.index("--without-prometheus")] = "--prometheus"
    command.insert(command.index("--prometheus") + 1, there)
    command += ["--alertmanager", nowhere, "--url", "https://ann:s3cret@rollguard.example"]
    served.start()
    try:
        started = served.post(f"/api/v1/rollouts/{NAME}/start", json={"actor": "ann", "unguarded": True})
        assert started.status_code == 200
        link = f"{there}/graph?g0.expr=x"
        served.notify("OnnxParityFailure", generatorURL=link, annotations={"description": f"See {link}."})
        polling.eventually(
            lambda: all(text in served.log() for text in ("reconciling with", "watching", "people cannot")),
            "three warnings",
            seconds=30,
        )
        told = [served.log(), json.dumps(served.history()), httpx.get(f"{served.url}/metrics").text]
        told += [
            done.stdout + done.stderr for done in (served.command("status", NAME), served.command("history"))
        ]
    finally:
        served.process.stop()
        refusing.shutdown()
        refusing.server_close()
    assert [text for text in told if "s3cret" in text] == []
    assert "g0.expr=x." in told[1]


@pytest.mark.parametrize(
    "arguments",
    [
        ("status", "--server", "http://ann:s3cret@127.0.0.1:1"),
        ("status", "--server", "ftp://ann:s3cret@127.0.0.1"),
        (
            "export",
            "forecast",
            "--once",
            "--env",
            "env",
            "--database",
            "postgresql+psycopg://ann:s3cret@127.0.0.1:1/x",
        ),
        ("export", "canary", "--once", "--events", "redis://ann:s3cret@127.0.0.1:1/0?stream=x"),
        ("dashboards", "push", "--url", "http://ann:s3cret@127.0.0.1:1"),
        ("history", "--state", "postgresql://ann:s3cret@127.0.0.1:1/x"),
        ("history", "--state", "postgres://ann:s3cret@127.0.0.1:x/x"),
        ("history", "--state", "mysql://ann:s3/cret@127.0.0.1/x"),
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_no_command_shows_the_login_of_a_url(untouched: Served, arguments: tuple[str, ...]) -> None:
    needs_token = arguments[0] in ("status", "dashboards")
    token = ("--token-file", str(untouched.token_file)) if needs_token else ()
    command = [sys.executable, "-m", "rollguard", *arguments, *token]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=untouched.folder, timeout=60
    )
    shown = done.stdout + done.stderr
    assert done.returncode != 0
    assert "127.0.0.1" in shown
    assert "cret" not in shown
    assert "Traceback" not in shown
