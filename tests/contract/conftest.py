"""A control plane as a process of its own, and what is done to it from outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from rollguard.cli.local.processes import Child, free_port
from rollguard.generators.tools import binaries
from tests.contract.exporter_process import Exporter
from tests.contract.planes import MakePlane, Plane
from tests.contract.shop import HEALTHY, Shop, running_shop
from tests.factories import SHIPPED
from tests.serving import serve_command

NAME = "model-canary"
TOKEN = "a-token-of-a-test-0123456789"


class Served:
    """`rollguard serve` in a folder, with the shipped rollout but none of its targets."""

    MORE = ""
    """What stands in the rollout file beside what ships."""

    def __init__(self, folder: Path, ledger: Path | None = None) -> None:
        self.folder = folder
        self.url = f"http://127.0.0.1:{free_port()}"
        self.token_file = folder / "token"
        self.ledger = ledger or folder / "ledger.db"
        self.rollouts = folder / "rollouts"
        self.rollouts.mkdir(parents=True)
        self.token_file.write_text(TOKEN, encoding="ascii")
        text = SHIPPED.read_text(encoding="utf-8").partition("\ntargets:")[0]
        (self.rollouts / SHIPPED.name).write_text(f"{text}\n{self.MORE}", encoding="utf-8")
        command = serve_command(folder, self.url, rollouts=self.rollouts, state=f"sqlite:///{self.ledger}")
        self.process = Child("control plane", command, folder / "serve.log", f"{self.url}/readyz")

    def start(self) -> None:
        """Start it and wait until it is ready."""
        self.process.start()
        self.process.wait_until_ready(30)

    def command(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the command line against it."""
        options = ("--server", self.url, "--token-file", str(self.token_file))
        command = [sys.executable, "-m", "rollguard", *arguments, *options]
        return subprocess.run(
            command,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
        )

    def post(self, path: str, **options: Any) -> httpx.Response:
        """Return the answer to a POST with the token."""
        headers = {"authorization": f"Bearer {TOKEN}", **options.pop("headers", {})}
        return httpx.post(f"{self.url}{path}", headers=headers, **options)

    def take_to(self, stage: str) -> None:
        """Start the rollout and promote it up to a stage."""
        entry = self.post(f"/api/v1/rollouts/{NAME}/start", json={"actor": "ann"}).json()
        while entry["to_stage"] != stage:
            entry = self.post(f"/api/v1/rollouts/{NAME}/promote", json={"actor": "ann", "early": True}).json()

    def notify(self, guard: str = "DriftDetected", **changes: Any) -> httpx.Response:
        """Tell it of an alert as Alertmanager does."""
        labels = {"rollout": NAME, "guard": guard, "alertname": guard, **changes.pop("labels", {})}
        now = datetime.now(UTC).isoformat()
        alert = {"status": "firing", "labels": labels, "annotations": {}, "startsAt": now, **changes}
        return self.post("/alerts", content=json.dumps({"version": "4", "alerts": [alert]}))

    def history(self) -> list[dict[str, Any]]:
        """Return the ledger's entries."""
        headers = {"authorization": f"Bearer {TOKEN}"}
        found: list[dict[str, Any]] = httpx.get(f"{self.url}/api/v1/history", headers=headers).json()
        return found

    def log(self) -> str:
        """Return what it logged."""
        return (self.folder / "serve.log").read_text(encoding="utf-8")


@contextmanager
def _serving(folder: Path) -> Iterator[Served]:
    served = Served(folder)
    served.start()
    try:
        yield served
    finally:
        served.process.stop()


@pytest.fixture
def make_served() -> Iterator[Callable[[Path], Served]]:
    """Return a function that starts a control plane in a folder; all are stopped at the end."""
    with ExitStack() as stack:
        yield lambda folder: stack.enter_context(_serving(folder))


@pytest.fixture
def served(tmp_path: Path, make_served: Callable[[Path], Served]) -> Served:
    """A control plane of the test's own."""
    return make_served(tmp_path / "served")


@pytest.fixture(scope="session")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A control plane that several tests share; none starts the rollout."""
    with _serving(tmp_path_factory.mktemp("untouched") / "served") as served:
        yield served


@pytest.fixture(scope="session")
def in_canary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A control plane that several tests share; its rollout stays in the stage canary."""
    with _serving(tmp_path_factory.mktemp("in-canary") / "served") as served:
        served.take_to("canary")
        yield served


@pytest.fixture
def exporter(tmp_path: Path) -> Iterator[Exporter]:
    exporter = Exporter(tmp_path)
    yield exporter
    if exporter.process is not None and exporter.process.poll() is None:
        exporter.process.kill()
        exporter.process.wait()


@pytest.fixture
def make_plane(tmp_path: Path) -> Iterator[MakePlane]:
    """Return a function that makes a control plane; all end with the test."""
    with ExitStack() as stack:

        def make(name: str, rollouts: Path, state: str, **options: Any) -> Plane:
            made = Plane(tmp_path / name, rollouts, state, **options)
            stack.callback(made.close)
            return made

        yield make


@pytest.fixture(scope="session")
def shared_shop(
    need_binary: Callable[[binaries.Binary], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shop]:
    with running_shop(tmp_path_factory.mktemp("shop"), need_binary(binaries.PROMETHEUS)) as shop:
        yield shop


@pytest.fixture
def shop(shared_shop: Shop) -> Shop:
    """A service that does well, and a Prometheus that watches it."""
    shared_shop.service.metrics = dict(HEALTHY)
    return shared_shop
