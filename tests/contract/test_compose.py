"""docker-compose.yml: docker-compose takes it, what it mounts is there, and its processes work together."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from rollguard import durations
from rollguard.cli.local.stack import retention
from rollguard.generators.tools import amtool, binaries
from rollguard.spec.loading import load_rollouts
from tests.compose import Bare, MissingComposeError, all_running, composed, make_secrets, mounts
from tests.factories import ROOT
from tests.polling import eventually

SETTINGS = {"demo": {}, "prod": {"ROLLGUARD_ONLY": "", "ROLLGUARD_WORK": "/srv/trading"}}
SERVERS = {"postgres", "redis", "control-plane", "alertmanager", "prometheus", "grafana"}


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_secrets(tmp_path_factory.mktemp("compose") / "secrets")


@pytest.fixture(scope="module", params=["demo", "prod"])
def stack(request: pytest.FixtureRequest, secrets: Path) -> dict[str, Any]:
    return composed_or_skip(request.param, secrets)


@pytest.fixture(scope="module")
def prod(secrets: Path) -> dict[str, Any]:
    return composed_or_skip("prod", secrets)


def composed_or_skip(profile: str, secrets: Path) -> dict[str, Any]:
    try:
        return composed(profile, secrets, **SETTINGS[profile])
    except MissingComposeError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))


def services(stack: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield from stack["services"].items()


def test_every_image_is_pinned(stack: Mapping[str, Any]) -> None:
    for name, service in services(stack):
        assert service["image"].partition(":")[2][:1] not in {"", "l"}, name


def test_no_container_has_more_rights_than_it_needs(stack: Mapping[str, Any]) -> None:
    for name, service in services(stack):
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["read_only"], name
        assert "user" in service or service["image"].startswith("rollguard:"), name


def test_every_container_is_limited(stack: Mapping[str, Any]) -> None:
    for name, service in services(stack):
        assert service["mem_limit"], name


def test_every_server_says_whether_it_is_healthy(stack: Mapping[str, Any]) -> None:
    assert {name for name, service in services(stack) if "healthcheck" in service} == SERVERS


def test_servers_start_once_what_they_need_is_healthy(stack: Mapping[str, Any]) -> None:
    order = {name: set(service.get("depends_on", ())) for name, service in services(stack)}
    assert order["control-plane"] == {"config", "postgres", "redis"}
    assert order["alertmanager"] == {"control-plane"}
    assert order["prometheus"] == {"alertmanager"}
    assert order["grafana"] == {"prometheus"}


def test_only_what_people_use_is_published_and_on_loopback(stack: Mapping[str, Any]) -> None:
    published = [port for _, service in services(stack) for port in service.get("ports", ())]
    assert sorted(published) == [f"127.0.0.1:{port}:{port}/tcp" for port in (3000, 9090, 9093, 9840)]


def test_everything_that_is_mounted_exists(stack: Mapping[str, Any]) -> None:
    for name, _ in services(stack):
        for target, source in mounts(stack, name).items():
            if source.startswith("/") and source != "/srv/trading":
                assert Path(source).exists(), f"{name}: {target}"
            elif not source.startswith("/"):
                assert source in stack["volumes"], f"{name}: {target}"


def test_secrets_can_be_read_by_containers_and_by_nobody_else_here(secrets: Path) -> None:
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    for path in secrets.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o444
        assert len(path.read_text(encoding="ascii")) == 64


def test_secrets_that_exist_are_kept(secrets: Path) -> None:
    before = {path.name: path.read_bytes() for path in secrets.iterdir()}
    make_secrets(secrets)
    assert {path.name: path.read_bytes() for path in secrets.iterdir()} == before


def test_prometheus_keeps_its_samples_for_longer_than_a_hold_lasts(prod: Mapping[str, Any]) -> None:
    option = "--storage.tsdb.retention.time="
    (kept,) = (text for text in prod["services"]["prometheus"]["command"] if text.startswith(option))
    assert durations.parse(kept.removeprefix(option)) >= retention(load_rollouts(ROOT / "rollouts"))


def test_each_job_with_an_exporter_has_a_service(prod: Mapping[str, Any]) -> None:
    wanted = {
        rollout.scrape.job: rollout.scrape.exporter.kind
        for rollout in load_rollouts(ROOT / "rollouts")
        if rollout.scrape.exporter
    }
    found = {}
    for name, service in services(prod):
        if name.startswith("exporter-"):
            options = dict(part.split("=") for part in service["command"][2:])
            (rollout,) = load_rollouts(ROOT / "rollouts" / Path(options["--rollout"]).name)
            assert rollout.scrape.job == name.removeprefix("exporter-")
            found[rollout.scrape.job] = service["command"][1]
    assert found == wanted


def test_grafana_asks_the_servers_that_run(stack: Mapping[str, Any]) -> None:
    text = (ROOT / "deploy" / "grafana" / "datasources" / "rollguard.yml").read_text(encoding="utf-8")
    for source in yaml.safe_load(text)["datasources"]:
        port = source["url"].rpartition(":")[2]
        assert f"--web.listen-address=:{port}" in stack["services"][source["type"]]["command"]


def test_grafana_finds_the_dashboards_that_are_mounted(stack: Mapping[str, Any]) -> None:
    text = (ROOT / "deploy" / "grafana" / "dashboards" / "rollguard.yml").read_text(encoding="utf-8")
    path = yaml.safe_load(text)["providers"][0]["options"]["path"]
    assert mounts(stack, "grafana")[path] == str(ROOT / "dashboards" / "generated")


def test_the_image_has_the_locked_packages() -> None:
    def pins(path: Path) -> set[str]:
        lines = path.read_text(encoding="utf-8").splitlines()
        return {line.split()[0] for line in lines if line[:1].isalpha()}

    image = pins(ROOT / "deploy" / "requirements.txt")
    assert image < pins(ROOT / "constraints.txt")
    assert {"uvicorn", "psycopg", "hatchling", "openfeature-provider-flagd"} <= {
        pin.partition("==")[0] for pin in image
    }


def test_the_servers_take_their_configuration(
    stack: Mapping[str, Any], tmp_path: Path, need_binary: Callable[[binaries.Binary], str]
) -> None:
    folder = Bare(stack, tmp_path / "bare").generate()
    command = [need_binary(binaries.PROMTOOL), "check", "config", str(folder / "prometheus.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert amtool.check_config(folder / "alertmanager.yml") == []


@pytest.fixture
def bare(
    secrets: Path, tmp_path: Path, need_binary: Callable[[binaries.Binary], str], postgres_url: str
) -> Iterator[Bare]:
    """Return the processes of the profile `demo`, running, but for the pretended service."""
    found = Bare(composed_or_skip("demo", secrets), tmp_path / "bare", postgres_url)
    found.generate()
    rollguard = ["rollguard"]
    order = {
        "exporter-model-canary": (f"{found.url(9841)}/", rollguard),
        "control-plane": (f"{found.url(9840)}/readyz", rollguard),
        "alertmanager": (f"{found.url(9093)}/-/ready", [need_binary(binaries.ALERTMANAGER)]),
        "prometheus": (f"{found.url(9090)}/-/ready", [need_binary(binaries.PROMETHEUS)]),
        "evidence": (f"{found.url(9846)}/", rollguard),
    }
    with all_running(found, order):
        yield found


def test_its_processes_work_together(bare: Bare) -> None:
    with httpx.Client() as client:
        labels = {"rollout": "model-canary", "action": "rollback", "alertname": "A", "guard": "A"}
        alert = {"labels": labels, "startsAt": datetime.now(UTC).isoformat()}
        client.post(f"{bare.url(9093)}/api/v2/alerts", json=[alert]).raise_for_status()
        told = re.compile("rollguard_notifications_total [1-9]")
        eventually(
            lambda: told.search(client.get(f"{bare.url(9840)}/metrics").text), "the notification of an alert"
        )
        asked = f"{bare.url(9090)}/api/v1/targets"
        jobs = {"model-canary", "evidence", "rollguard", "prometheus", "alertmanager"}

        def targets() -> dict[str, str] | None:  # Prometheus finds the targets of each job in its own time
            active = client.get(asked).json()["data"]["activeTargets"]
            urls = {target["labels"]["job"]: target["scrapeUrl"] for target in active}
            return urls if jobs <= urls.keys() else None

        found = eventually(targets, "a target of every job")
        answers = {job: client.get(url).status_code for job, url in found.items()}
        assert answers == dict.fromkeys(jobs, 200)
        groups = client.get(f"{bare.url(9090)}/api/v1/rules").json()["data"]["groups"]
        files = {Path(group["file"]).name.partition(".")[0] for group in groups}
        assert files == {"model-canary", "platform"}


@pytest.mark.slow
def test_the_demo_does_what_its_page_says(bare: Bare, secrets: Path) -> None:
    """At the pace of the rollout file, and over the demo's own service: two minutes."""
    page = (ROOT / "docs" / "compose.md").read_text(encoding="utf-8")
    start, promote, again, status = re.findall(r"^((?:rg|for) .+?)(?: +#.*)?$", page, re.MULTILINE)[:4]
    environment = {
        **os.environ,
        "PATH": f"{bare.folder / 'bin'}:{os.environ['PATH']}",
        "ROLLGUARD_SERVER": bare.url(9840),
        "ROLLGUARD_TOKEN_FILE": str(secrets / "rollguard-token"),
    }

    def typed(line: str, until: str) -> bool:
        """Type a line of the page, and look whether that led where it should."""
        for one in (line, status):
            command = ["sh", "-c", f'rg() {{ rollguard "$@"; }}; {one}']
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        return until in done.stdout

    with all_running(bare, {"demo": (f"{bare.url(9841)}/", [])}):
        eventually(lambda: typed(start, "shadow"), "the first release", 120)
        eventually(lambda: typed(promote, "ENABLED"), "the first release fully on", 120)
        eventually(lambda: typed(again, "canary"), "the second release", 60)
        eventually(lambda: typed(status, "DriftDetected"), "its rollback", 120)
