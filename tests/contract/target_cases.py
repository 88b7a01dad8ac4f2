"""One target of each kind over something outside that others use too, for the contract that all keep."""

from __future__ import annotations

import json
import multiprocessing
import os
import socketserver
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import redis

from rollguard.spec.loading import load_rollout
from rollguard.spec.rollout import Rollout
from rollguard.spec.targets import Target
from rollguard.state import State
from rollguard.targets import build
from rollguard.targets.interface import Target as AnyTarget
from tests.factories import ROOT

APP_YML = """\
# The application's settings.
server: {host: 127.0.0.1, port: 8080}   # not ours

rollout:
    mode:   disabled      # set by rollouts
    canary_fraction: 0.10
    note: "don't touch"

zebra: 1
ant: !Ref something
"""

APP_ENV = """\
# The application's settings.
ZEBRA='several
MODE=of these
lines'
export MODE="disabled"   # set by rollouts
FRACTION=0.10

# MODE=example
ANT=${ZEBRA}-x
"""

CONFIG_JSON = """\
{
    "zebra": [1.0, 1e3],
    "rollout": {"mode":   "disabled", "canary_fraction": 0.10},
    "validation": {
        "enabled": true
    },
    "ant": "\\u00e9"
}
"""

FLAGS_JSON = """\
{
    "$schema": "https://flagd.dev/schema/v0/flags.json",
    "flags": {
        "zebra": {"state": "ENABLED", "variants": {"on": 1.0, "off": 0}, "defaultVariant": "on"},
        "model-canary": {
            "state": "ENABLED",
            "variants": {"candidate": true, "active": false},
            "defaultVariant": "candidate"
        },
        "ant": {"state": "DISABLED",   "variants": {"a": 1e3}}
    },
    "$evaluators": {}
}
"""

MANIFEST_JSON = """\
{
    "active": "two",
    "models": [{"id": "one", "created_at": 1e3}, {"id": "two",   "created_at": 2}, {"id": "three"}]
}
"""

STATES = (
    State("model-canary"),
    State("model-canary", "ROLLING_OUT", "shadow", run=1, seq=1),
    State("model-canary", "ROLLING_OUT", "canary", run=1, seq=2),
    State("model-canary", "ROLLING_OUT", "ramp-25", run=1, seq=3),
    State("model-canary", "ENABLED", run=1, seq=5),
    State("model-canary", "ROLLBACK", run=1, reason="DriftDetected", seq=6),
)
OFF, SHADOW, CANARY, RAMP, FULL, BACK = STATES

_VALUES: dict[str, dict[str, Any]] = {
    "fallback": {"rollout.mode": "disabled"},
    "shadow": {"rollout.mode": "shadow"},
    "canary": {"rollout.mode": "canary", "rollout.canary_fraction": 0.1},
    "ramp-25": {"rollout.mode": "canary", "rollout.canary_fraction": 0.25},
    "ramp-50": {"rollout.mode": "on", "rollout.canary_fraction": 0.5},
    "full": {"rollout.mode": "full"},
}
_ENV_VALUES = {
    state: {key.rsplit(".")[-1].replace("canary_", "").upper(): value for key, value in values.items()}
    for state, values in _VALUES.items()
}
_JSON_VALUES = {state: {**values, "validation": {"mode": [state]}} for state, values in _VALUES.items()}
MODES = {state: values["rollout.mode"] for state, values in _VALUES.items()}
_ECHO = "echo ran >> runs; echo $ROLLGUARD_STATE > .outside.$$; mv .outside.$$ config/outside"
_RESTART = "echo ran >> runs; cp config/app.env .outside.$$; mv .outside.$$ config/outside"
_IN_EFFECT = {state: ["cmp", "config/app.env", "config/outside"] for state in _VALUES}

_FILES = {"flagd-file": ("flags.json", FLAGS_JSON), "yaml-file": ("app.yml", APP_YML)}
_FILES |= {"env-file": ("app.env", APP_ENV), "json-file": ("config.json", CONFIG_JSON)}
FILE_KINDS = tuple(_FILES)
KINDS = (*FILE_KINDS, "link", "field", "command", "restart", "redis-stream", "http")


def rollout_with(*targets: dict[str, Any], name: str = "model-canary") -> Rollout:
    """Return the shipped rollout with other targets."""
    rollout = load_rollout(ROOT / "rollouts" / "model-canary.yaml")
    flag = rollout.flag.model_copy(update={"key": name})
    listed = tuple(Target.model_validate(target) for target in targets)
    return rollout.model_copy(update={"rollout": name, "flag": flag, "targets": listed})


def built(rollout: Rollout, root: Path) -> AnyTarget:
    """Return the first target of a rollout."""
    return build(rollout, root, root / "memory")[0]


def _spec(kind: str, url: str) -> dict[str, Any]:
    commands = {state: ["sh", "-c", _ECHO] for state in _VALUES}
    env_file = {"path": "config/app.env", "values": _ENV_VALUES}
    sent = {
        state: [{"path": "/flag", "method": "PUT", "body": keys}, {"path": "/on", "body": True}]
        for state, keys in _JSON_VALUES.items()
    }
    shown = {state: {"flag": keys, "on": True} for state, keys in _JSON_VALUES.items()}
    specs: dict[str, dict[str, Any]] = {
        "flagd-file": {"flagd-file": {"path": "config/flags.json"}},
        "yaml-file": {"yaml-file": {"path": "config/app.yml", "values": _VALUES}},
        "env-file": {"env-file": env_file},
        "json-file": {"json-file": {"path": "config/config.json", "values": _JSON_VALUES}},
        "link": {"model-registry": {"root": "config"}},
        "field": {"model-registry": {"root": "config", "as": "field"}},
        "command": {"command": {"name": "switch", "run": commands}},
        "restart": {
            "env-file": env_file,
            "then": {"restart": ["sh", "-c", _RESTART]},
            "verify": {"command": {"run": _IN_EFFECT}},
        },
        "redis-stream": {"redis-stream": {"url": url, "stream": "events", "modes": MODES}},
        "http": {"http": {"name": "vendor", "url": url, "send": sent, "read": {"expect": shown}}},
    }
    return specs[kind]


@dataclass(frozen=True)
class Case:
    """A target, and what it changes: a file, a link, or the trace that a command leaves.

    Args:
        kind: see KINDS.
        rollout: with this target alone.
        target: over `path`.
        path: what is looked at from outside.
        original: what a file held at first.
        root: of relative paths.
        url: of the server that it is about; empty for none.
    """

    kind: str
    rollout: Rollout
    target: AnyTarget
    path: Path
    original: str
    root: Path
    url: str = ""

    def content(self) -> str:
        """Return what is outside."""
        if self.kind == "http":
            return httpx.get(self.url).text
        if self.kind == "redis-stream":
            told = [entry[b"to"].decode() for entry in self.events() if b"to" in entry]
            return told[-1] if told else ""
        if self.kind == "link":
            return os.readlink(self.path)
        return self.path.read_bytes().decode() if self.path.exists() else ""

    def stamp(self) -> tuple[object, ...]:
        """Return what every write changes, and every run of a command."""
        if self.kind == "http":
            return (httpx.get(f"{self.url}/writes").text,)
        if self.kind == "redis-stream":
            return (len(self.events()),)
        runs = self.root / "runs"
        found = self.path.lstat() if os.path.lexists(self.path) else None
        written = (found.st_ino, found.st_mtime_ns) if found else ()
        return (*written, runs.read_text() if runs.exists() else "")

    def disturb(self) -> None:
        """Change the outside behind the target's back."""
        if self.kind == "http":
            httpx.put(f"{self.url}/flag", json="something else")
            return
        if self.kind == "link":
            self.path.unlink()
            self.path.symlink_to("one")
        elif self.kind == "field":
            self.path.write_text(MANIFEST_JSON.replace('"active": "two"', '"active": "one"'))
        else:
            self.path.write_text(self.original)

    def events(self) -> list[dict[bytes, bytes]]:
        """Return what the stream was told."""
        with redis.Redis.from_url(self.url) as client:
            found: Any = client.xrange("events")
        return [entry for _, entry in found]

    def others(self) -> Any:
        """Return what the file holds beside the target's values, in its order."""
        if self.kind == "flagd-file":
            document = json.loads(self.content())
            return [item for item in document["flags"].items() if item[0] != "model-canary"]
        keys = ("mode:", "canary_fraction:", "export MODE=", "FRACTION=", '"active":', '"rollout":')
        before, _, after = self.content().partition('"validation": {')
        text = before + after[after.index("}") if after else 0 :]
        return [line for line in text.splitlines() if not line.strip().startswith(keys)]


def make_case(kind: str, root: Path, url: str = "") -> Case:
    """Return a case of a kind, under a folder; with a server at a URL where it needs one."""
    folder = root / "config"
    folder.mkdir()
    for name in ("one", "two", "three"):
        (folder / name).mkdir()
    (folder / "active").symlink_to("two")
    (folder / "shadow").symlink_to("three")
    (folder / "manifest.json").write_text(MANIFEST_JSON)
    (folder / "app.env").write_text(APP_ENV)
    if kind == "restart":
        (folder / "outside").write_text(APP_ENV)  # what the processes were started with
    name, original = _FILES.get(kind, ("outside", ""))
    if original:
        (folder / name).write_text(original)
    names = {"link": "active", "field": "manifest.json"}
    rollout = rollout_with(_spec(kind, url))
    return Case(kind, rollout, built(rollout, root), folder / names.get(kind, name), original, root, url)


class Vendor(ThreadingHTTPServer):
    """A service with a state that PUT and POST replace part by part, and GET shows."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Vendor)
        self.state: dict[str, Any] = {"flag": None, "on": False}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.failures: list[int] = []

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_port}"


class _Vendor(BaseHTTPRequestHandler):
    server: Vendor

    def do_GET(self) -> None:
        shown = len(self.server.requests) if self.path == "/writes" else self.server.state
        self._answer(200, shown)

    def do_PUT(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append((f"{self.command} {self.path}", headers))
        if self.server.failures:
            self._answer(self.server.failures.pop(0), {"message": "not now"})
            return
        self.server.state = {**self.server.state, self.path.strip("/"): body}
        self._answer(200, {})

    def do_POST(self) -> None:
        self.do_PUT()

    def _answer(self, code: int, shown: Any) -> None:
        body = json.dumps(shown).encode()
        self.send_response(code)
        if 300 <= code < 400:
            self.send_header("location", "/elsewhere")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class _Trickle(socketserver.BaseRequestHandler):
    """Sends a byte now and then."""

    lead = b""

    def handle(self) -> None:
        self.request.recv(1 << 16)
        with suppress(OSError):  # nobody waits so long
            self.request.sendall(self.lead)
            for byte in b"x" * 600:
                self.request.sendall(bytes([byte]))
                time.sleep(0.05)


@contextmanager
def trickling(before: bytes) -> Iterator[str]:
    """Run a service that sends the start of an answer, and then for half a minute a byte now and then.

    Yields:
        Its URL.
    """
    handler = type("Trickle", (_Trickle,), {"lead": before})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


@contextmanager
def vendor() -> Iterator[Vendor]:
    """Run a service."""
    with Vendor() as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["rollguard.targets", "tests.contract.target_cases"])


def event() -> Any:
    """Return an event that `spawn` may hand to a process."""
    return _context.Event()


def spawn(work: Callable[..., None], *arguments: Any) -> Any:
    """Start a function in a process of its own."""
    process = _context.Process(target=work, args=arguments)
    process.start()
    return process
