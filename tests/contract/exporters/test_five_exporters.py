"""Each of the five exporters as a process, started from a rollout file, over samples and broken input."""

from __future__ import annotations

import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from demo import samples
from rollguard.cli.main import cli
from rollguard.generators.tools import binaries
from rollguard.yamlfile import dump, parse
from tests.factories import ROOT
from tests.unit.exporters.test_exported_metrics import ALL_SIX, CATALOGUE, FEATURES

DEADLINE_SECONDS = 20
CONFIGS = {
    "canary": {"events": "canary.jsonl", "reference": "reference.json"},
    "screener": {
        **{"log": "celery.log", "database": "sqlite:///scans.db"},
        **{"universe": samples.SYMBOLS, "baseline": "screener-baseline.json"},
    },
    "validation": {"events": "validation.jsonl"},
    "forecast": {"database": "sqlite:///forecasts.db", "env": "env.canary", "log": "forecast.log"},
    "features": {"events": "features.jsonl"},
}
GROWS = {"canary": "canary.jsonl", "screener": "celery.log", "validation": "validation.jsonl"}
GROWS |= {"features": "features.jsonl"}
MALFORMED = {name: ROOT / "tests" / "data" / f"{name}-malformed.jsonl" for name in GROWS}
MALFORMED["screener"] = ROOT / "tests" / "data" / "screener-malformed.log"
REJECTED = "rollguard_exporter_events_rejected_total"
LATER = {"forecast_db_query_baseline_seconds"}
"""Shown after twenty looks at the table, ten minutes."""


def names_of(catalogue: str) -> set[str]:
    return set(re.sub(r"\{[^}]*\}", "", catalogue).split())


EXPECTED = {name: names_of(text) - LATER for name, text in CATALOGUE.items()}
EXPECTED["features"] = names_of(" ".join([*FEATURES.values(), ALL_SIX]))


class Running:
    """An exporter's process, over samples in a folder of its own."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        shipped = (ROOT / "rollouts" / "model-canary.yaml").read_text(encoding="utf-8")
        scrape = {"job": name, "targets": ["127.0.0.1:1"], "exporter": {name: CONFIGS[name]}}
        document = {**parse(Path(), shipped).data, "scrape": scrape}
        (folder / "model-canary.yaml").write_text(dump(document), encoding="utf-8")
        samples.write(folder, time.time())
        self.start()

    def start(self) -> None:
        options = ["--rollout", "model-canary.yaml", "--listen", "127.0.0.1:0"]
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "rollguard", "export", self.name, *options],
                cwd=self.folder,
                stderr=log,
                env={"PYTHONPATH": str(ROOT)},
            )
        self._until(self._address, "it to serve")
        self._until(lambda: self.get().status_code == 200, "it to have read everything")

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def get(self, path: str = "/metrics") -> httpx.Response:
        return httpx.get(self._address() + path)

    def scrape(self) -> dict[str, float]:
        """Values by series, without those of the exporter's own health."""
        found = {
            f"{sample.name}{sorted(sample.labels.items())}": sample.value
            for family in text_string_to_metric_families(self.get().text)
            for sample in family.samples
        }
        return {series: value for series, value in found.items() if not series.startswith("rollguard_")}

    def rejected(self) -> float:
        return sum(
            sample.value
            for family in text_string_to_metric_families(self.get().text)
            for sample in family.samples
            if sample.name == REJECTED
        )

    def until_rejected(self, count: float) -> None:
        self._until(lambda: self.rejected() >= count, f"{count} rejected lines")

    def _address(self) -> str:
        found = re.search(r"serving (http\S+)/metrics", (self.folder / "log").read_text())
        return found[1] if found else ""

    def _until(self, condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not condition():
            assert self.process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline, f"waited {DEADLINE_SECONDS} s for {what}"
            time.sleep(0.02)


@pytest.fixture(scope="module", params=CONFIGS)
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    found = Running(request.param, tmp_path_factory.mktemp(request.param))
    yield found
    found.stop()


def test_every_metric_of_the_catalogue_has_samples(running: Running) -> None:
    shown = {re.sub(r"(_bucket)?\[.*", "", series) for series in running.scrape()}
    assert sorted(EXPECTED[running.name] - shown) == []


def test_promtool_reads_it(running: Running, need_binary: Callable[[binaries.Binary], str]) -> None:
    command = [need_binary(binaries.PROMTOOL), "check", "metrics"]
    checked = subprocess.run(command, input=running.get().content, capture_output=True, check=False)
    assert checked.returncode != 1, checked.stderr.decode()


def test_the_page_for_people_lists_every_metric(running: Running) -> None:
    found = running.get("/").text
    assert sorted(name for name in EXPECTED[running.name] if f"<td>{name}" not in found) == []


def test_broken_lines_are_counted_and_move_nothing(running: Running) -> None:
    if running.name not in GROWS:
        return  # it reads tables: those are broken below
    broken = MALFORMED[running.name].read_bytes()
    before, known = running.scrape(), running.rejected()
    with (running.folder / GROWS[running.name]).open("ab") as file:
        file.write(broken)
    running.until_rejected(known + len(broken.splitlines()))
    assert running.rejected() == known + len(broken.splitlines())
    assert running.scrape() == before


LOOKS = "forecast_db_looks_total"
"""It counts on, also while a test looks; what it counted before a kill stays."""


def test_killed_and_started_again_it_shows_the_same(running: Running) -> None:
    shown = running.scrape()
    before = {
        series: value
        for series, value in shown.items()
        if "query_duration" not in series and not series.startswith(LOOKS)
    }
    running.process.send_signal(signal.SIGKILL)
    running.process.wait()
    running.start()
    after = running.scrape()
    assert {series: after.get(series) for series in before} == before
    assert all(after[series] >= value for series, value in shown.items() if series.startswith(LOOKS))


def once(command: str) -> str:
    found = CliRunner().invoke(cli, ["export", *shlex.split(command), "--once"])
    assert found.exit_code == 0, found.output
    return found.stdout


def statements(name: str) -> list[str]:
    return (ROOT / "tests" / "data" / f"{name}-malformed.sql").read_text(encoding="utf-8").splitlines()


def change(database: Path, statement: str) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(statement)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("samples")
    samples.write(folder, time.time())
    return folder


@pytest.mark.parametrize("statement", statements("forecast"))
def test_a_broken_validation_table_is_down_and_silent(written: Path, tmp_path: Path, statement: str) -> None:
    database = Path(shutil.copy(written / "forecasts.db", tmp_path))
    change(database, statement)
    found = once(f"forecast --database sqlite:///{database}")
    assert "\nforecast_db_up 0.0\n" in found
    assert "\nforecast_divergence_ratio" not in found


@pytest.mark.parametrize("statement", statements("screener"))
def test_a_broken_row_of_a_scan_is_counted_and_moves_nothing(
    written: Path, tmp_path: Path, statement: str
) -> None:
    def shown(text: str) -> list[str]:
        return [line for line in text.splitlines() if line.startswith("se_")]

    database = Path(shutil.copy(written / "scans.db", tmp_path))
    command = f"screener --log {written}/celery.log --database sqlite:///{database}"
    before = once(command)
    change(database, statement)
    after = once(command)
    assert f'{REJECTED}{{reason="shape"}} 1.0\n' in after
    assert shown(after) == shown(before)


def test_the_docs_tell_how_to_run_each() -> None:
    page = (ROOT / "docs" / "exporters.md").read_text(encoding="utf-8")
    for command in samples.commands(Path("var/samples")):
        assert f"    rollguard export {command} --once\n" in page
