"""The documented target for Unleash, against a real unleash-server; long, as npm brings it first."""

from __future__ import annotations

import shutil
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from rollguard.cli.local.processes import Child, free_port
from rollguard.targets.interface import Target
from tests.contract.target_cases import BACK, CANARY, OFF, built, rollout_with
from tests.factories import ROOT
from tests.servers import PostgresServer

VERSION = "7.5.1"
TOKEN = "*:*.an-admin-token-of-a-test"
FEATURE = "/api/admin/projects/default/features/model-canary"
STRATEGIES = f"{FEATURE}/environments/production/strategies"
START = """\
import { start } from "unleash-server";
await start({ server: { port: Number(process.env.PORT), host: "127.0.0.1" } });
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def unleash(
    tmp_path_factory: pytest.TempPathFactory, shared_postgres: PostgresServer
) -> Iterator[httpx.Client]:
    """A client of an Unleash with one feature, which is off."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        pytest.skip("needs node and npm")
    place = ROOT / ".tools" / "unleash"
    place.mkdir(parents=True, exist_ok=True)
    command = [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", f"unleash-server@{VERSION}"]
    subprocess.run(command, cwd=place, check=True, capture_output=True)
    (place / "start.mjs").write_text(START)
    url = f"http://127.0.0.1:{free_port()}"
    database = shared_postgres.create("unleash").replace("+psycopg", "").replace("test@", "test:any@")
    settings = {"DATABASE_URL": database, "DATABASE_SSL": "false", "PORT": url.rpartition(":")[2]}
    settings |= {"INIT_ADMIN_API_TOKENS": TOKEN, "NODE_ENV": "production", "CHECK_VERSION": "false"}
    command = [
        "env",
        *(f"{name}={value}" for name, value in settings.items()),
        node,
        str(place / "start.mjs"),
    ]
    child = Child("unleash", command, tmp_path_factory.mktemp("unleash") / "log", f"{url}/health")
    child.start()
    try:
        child.wait_until_ready(180)
        with httpx.Client(base_url=url, headers={"Authorization": TOKEN}, timeout=30) as client:
            feature = {"name": "model-canary", "type": "release"}
            client.post(FEATURE.rpartition("/")[0], json=feature).raise_for_status()
            yield client
    finally:
        child.stop()


@pytest.fixture
def target(unleash: httpx.Client, tmp_path: Path) -> Target:
    """The target of docs/targets.md, with this server's address, token and strategy."""
    parameters = {"rollout": "0", "stickiness": "default", "groupId": "model-canary"}
    strategy = unleash.post(STRATEGIES, json={"name": "flexibleRollout", "parameters": parameters}).json()[
        "id"
    ]
    text = (ROOT / "docs" / "targets.md").read_text(encoding="utf-8")
    section = text.partition("### Unleash\n")[2].partition("\nThe strategy's id")[0]
    found = yaml.safe_load(textwrap.dedent(section))["targets"][0]
    told = str(found).replace("6b2e6c0a-0000-4000-8000-000000000000", strategy)
    told = told.replace("http://127.0.0.1:4242", str(unleash.base_url).rstrip("/"))
    (tmp_path / "token").write_text(TOKEN)
    spec: dict[str, Any] = yaml.safe_load(told.replace("/etc/rollguard/unleash-token", "token"))
    return built(rollout_with(spec), tmp_path)


def test_the_documented_target_takes_a_real_unleash_there_and_back(
    target: Target, unleash: httpx.Client
) -> None:
    environment = STRATEGIES.rpartition("/")[0]
    for state, enabled in ((OFF, False), (CANARY, True), (CANARY, True), (BACK, False)):
        target.apply(state)
        assert target.read_back(state)
        assert unleash.get(environment).json()["enabled"] is enabled
    target.apply(CANARY)
    unleash.post(f"{environment}/off").raise_for_status()
    assert not target.read_back(CANARY)
    target.apply(CANARY)
    assert target.read_back(CANARY)
    shown = unleash.get(environment).json()["strategies"]
    assert "10" in {strategy["parameters"]["rollout"] for strategy in shown}
