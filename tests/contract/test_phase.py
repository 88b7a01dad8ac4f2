"""A real Prometheus evaluates when we say, scrapes at the same time always, and obeys a name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from rollguard.cli.local.processes import Child, free_port
from rollguard.generators.rules.phase import Phase, best_name, group_offset, measured
from rollguard.generators.tools import binaries
from tests.polling import eventually

INTERVAL = 1.0
LATE_SECONDS = 0.04
"""How late the best of several evaluations may be on a busy machine."""

SOON_SECONDS = INTERVAL / 4


class Server:
    """Prometheus, with the rules of one rollout, which it scrapes from itself."""

    def __init__(self, binary: str, folder: Path) -> None:
        self.folder = folder
        self.url = f"http://127.0.0.1:{free_port()}"
        (folder / "rules").mkdir()
        self.name_group("checkout")
        at = self.url.removeprefix("http://")
        targets = [{"targets": [at], "labels": {"rollout": "checkout"}}]
        config = {
            "global": {"scrape_interval": "1s"},
            "rule_files": ["rules/*.rules.yml"],
            "scrape_configs": [{"job_name": "checkout", "static_configs": targets}],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        command = [
            binary,
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={at}",
            "--web.enable-lifecycle",
        ]
        self.process = Child("prometheus", command, folder / "log", f"{self.url}/-/ready")

    def name_group(self, name: str) -> None:
        """Write the rules as a group of another name."""
        rules = [{"record": "one", "expr": "vector(1)"}]
        group = {"name": name, "interval": "1s", "rules": rules}
        path = self.folder / "rules" / "checkout.rules.yml"
        path.write_text(yaml.safe_dump({"groups": [group]}))

    def group(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = httpx.get(f"{self.url}/api/v1/rules").json()["data"]["groups"][0]
        return found

    def last_scrape(self) -> str:
        targets = httpx.get(f"{self.url}/api/v1/targets").json()["data"]["activeTargets"]
        return str(targets[0]["lastScrape"])

    def phase(self) -> Phase | None:
        return measured(self.url, {"checkout": "checkout"}).get("checkout")


@pytest.fixture(scope="module")
def server(
    need_binary: Callable[[binaries.Binary], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    server = Server(need_binary(binaries.PROMETHEUS), tmp_path_factory.mktemp("phase"))
    server.process.start()
    server.process.wait_until_ready(30)
    yield server
    server.process.stop()


until = partial(eventually, seconds=60.0)


def seconds_of(text: str) -> float:
    """Seconds within the minute, of RFC 3339."""
    return float(text.partition(".")[0][-2:]) + float("0." + text.partition(".")[2].rstrip("Z") or "0")


def is_evaluated_as_predicted(group: Mapping[str, Any]) -> bool:
    if group["lastEvaluation"].startswith("0001"):
        return False
    predicted = group_offset(group["file"], group["name"], INTERVAL)
    return (seconds_of(group["lastEvaluation"]) - predicted) % INTERVAL < LATE_SECONDS


def test_a_group_is_evaluated_at_the_predicted_time(server: Server) -> None:
    until(lambda: is_evaluated_as_predicted(server.group()))


def apart(one: Phase, other: Phase) -> float:
    """How far two scrapes are apart within the interval, which is a circle."""
    difference = abs(one.targets[0].offset - other.targets[0].offset)
    return min(difference, INTERVAL - difference)


def kept(server: Server) -> Phase:
    """Wait for three scrapes at the same time of their interval; any one may be late, also the first."""
    seen: dict[str, Phase] = {}

    def agreed() -> Phase | None:
        phase = server.phase()
        if phase is None:
            return None
        seen.setdefault(server.last_scrape(), phase)
        near = [other for other in seen.values() if apart(phase, other) < LATE_SECONDS]
        return phase if len(near) >= 3 else None

    found: Phase = until(agreed)
    return found


def test_scrapes_keep_their_time(server: Server) -> None:
    kept(server)


def test_a_chosen_name_moves_the_evaluation_behind_the_scrape(server: Server) -> None:
    def soon() -> str | None:
        name, wait = best_name(kept(server), "checkout")
        return name if wait < SOON_SECONDS else None

    name: str = until(soon)
    server.name_group(name)
    httpx.post(f"{server.url}/-/reload").raise_for_status()
    until(lambda: server.group()["name"] == name and is_evaluated_as_predicted(server.group()))
    until(lambda: server.phase().wait < SOON_SECONDS)  # type: ignore[union-attr]
