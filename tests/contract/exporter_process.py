"""One exporter's process after another, and what is written for it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import httpx
import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from rollguard.exporters.measures.reference import Reference
from tests.factories import ROOT
from tests.polling import eventually

DEADLINE_SECONDS = 60
START = """
import logging, sys
from pathlib import Path
from rollguard.exporters.canary.exporter import canary
from rollguard.exporters.runtime.runner import Settings, run
logging.basicConfig(level=logging.INFO)
events, reference, checkpoint = sys.argv[1:]
settings = Settings(listen="127.0.0.1:0", checkpoint=Path(checkpoint))
sys.exit(run(canary(events, reference=Path(reference)), settings))
"""


until = partial(eventually, seconds=DEADLINE_SECONDS)


class Exporter:
    """One exporter's process after another over the same source; `scrapes` holds whatever was ever seen."""

    def __init__(self, folder: Path) -> None:
        self.events = folder / "events.jsonl"
        self.source = str(self.events)
        self.checkpoint = folder / "checkpoint"
        self.log = folder / "log"
        self.reference = folder / "reference.json"
        self.scrapes: list[dict[str, float]] = []
        self.process: subprocess.Popen[bytes] | None = None
        rows = {"spread": np.arange(1000.0)}
        Reference.fit(rows, source="a test", made_at=0).save(self.reference)

    def start(self) -> None:
        with self.log.open("wb") as log:
            command = [sys.executable, "-c", START, self.source, str(self.reference), str(self.checkpoint)]
            self.process = subprocess.Popen(command, cwd=ROOT, stderr=log)
        until(lambda: "serving http" in self.log.read_text(), "the exporter to serve")
        found = re.search(r"serving (http\S+)", self.log.read_text())
        assert found
        self.url = found[1]

    def stop(self, number: int) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_SECONDS)

    def scrape(self) -> dict[str, float] | None:
        """Values by series; None while it answers 503."""
        response = httpx.get(self.url)
        if response.status_code == 503:
            assert "Catching up" in response.text
            return None
        assert response.status_code == 200
        found = {
            sample.name + json.dumps(sample.labels): sample.value
            for family in text_string_to_metric_families(response.text)
            for sample in family.samples
        }
        self.scrapes.append(found)
        return found

    def shows(self, name: str, value: float, **labels: str) -> Callable[[], bool]:
        return lambda: (self.scrape() or {}).get(name + json.dumps(labels)) == value


def event(kind: str, **more: Any) -> bytes:
    return json.dumps({"event": kind, "ts": time.time(), **more}).encode() + b"\n"


def trade(won: bool = True) -> bytes:
    return event("trade_closed", route="canary", won=won)


def write(file: IO[bytes], *lines: bytes) -> None:
    file.write(b"".join(lines))
    file.flush()


def counters_never_fall(scrapes: list[dict[str, float]]) -> bool:
    names = [name for name in scrapes[-1] if "_total{" in name and "rejected" not in name]
    return all(before[name] <= after[name] for before, after in pairwise(scrapes) for name in names)
