"""The control plane in this process, with time at hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from rollguard.control.decisions import Clock
from rollguard.control.plane import ControlPlane
from rollguard.ledger import Ledger
from rollguard.server.app import Server
from rollguard.server.metrics import Metrics
from rollguard.spec.rollout import Rollout
from rollguard.targets.applier import Applier
from rollguard.tokens import TokenFile, Tokens
from rollguard.workers.ledger_probe import LedgerProbe
from tests.factories import shipped_rollout

TOKEN = "a-token-of-a-test-0123456789"
NOW = 1_700_000_000.0


@dataclass
class App:
    """The routes, what is behind them, and a way to call them."""

    control: ControlPlane
    applier: Applier
    metrics: Metrics
    ledger: Ledger
    probe: LedgerProbe
    server: Server
    portal: BlockingPortal
    woken: list[bool] = field(default_factory=list)

    def call(self, method: str, path: str, *, token: str | None = TOKEN, **options: Any) -> httpx.Response:
        """Return what the application answers."""
        headers = {**options.pop("headers", {}), **({"authorization": f"Bearer {token}"} if token else {})}
        answer: httpx.Response = self.portal.call(self._call, method, path, headers, options)
        return answer

    async def _call(self, method: str, path: str, headers: dict[str, str], options: Any) -> httpx.Response:
        transport = httpx.ASGITransport(self.server.app(), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path, headers=headers, **options)

    def get(self, path: str, **options: Any) -> httpx.Response:
        """Return the answer to a GET."""
        return self.call("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        """Return the answer to a POST."""
        return self.call("POST", path, **options)

    def sample(self, name: str, **labels: str) -> float | None:
        """Return the value of a series, as a scrape would show it."""
        return self.metrics.registry.get_sample_value(name, labels)


@pytest.fixture(scope="session")
def portal() -> Iterator[BlockingPortal]:
    with start_blocking_portal() as found:
        yield found


@pytest.fixture
def rollout() -> Rollout:
    shipped = shipped_rollout()
    return shipped.model_copy(update={"targets": ()})


@pytest.fixture
def make_app(tmp_path: Path, rollout: Rollout, portal: BlockingPortal) -> Iterator[Callable[..., App]]:
    """Return a function that puts the parts together; several share one ledger, as after a restart."""
    ledgers: list[Ledger] = []

    def make(*rollouts: Rollout, ledger: Ledger | None = None, **options: Any) -> App:
        ledgers.append(ledger or Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}"))
        control = ControlPlane(rollouts or (rollout,), ledgers[-1], clock=Clock(lambda: NOW, lambda: NOW))
        applier = Applier(rollouts or (rollout,), {}, control.shown, clock=lambda: NOW)
        probe = LedgerProbe(ledgers[-1], control.clock)
        metrics = Metrics(control, applier.statuses, probe)
        control.listen(metrics)
        woken: list[bool] = []
        (tmp_path / "token").write_text(TOKEN)
        tokens = options.pop("tokens", None) or Tokens([TokenFile(tmp_path / "token")])
        server = Server(control, applier, metrics, probe, tokens, wake=lambda: woken.append(True), **options)
        return App(control, applier, metrics, ledgers[-1], probe, server, portal, woken)

    yield make
    for ledger in ledgers:
        ledger.close()


@pytest.fixture
def app(make_app: Callable[..., App]) -> App:
    return make_app()
