"""The demo's service by itself, for docker-compose.yml: every second has a defect."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import click
import yaml

from demo import market, models
from demo.registry import Registry
from demo.service import Files, TradingService, flag_client
from demo.signals import stream
from demo.story import SCALE, prepare
from rollguard.spec.loading import load_rollout

POLL_SECONDS = 0.5


class Releases:
    """Which release is the candidate, by what the configuration's `rollout.mode` did.

    Args:
        healthy: the release that is good.
        defective: the one after it.
        deploy: told each new candidate.
        promote: called when a candidate that was fully on makes room for the next.
    """

    def __init__(
        self,
        healthy: models.Release,
        defective: models.Release,
        deploy: Callable[[models.Release], None],
        promote: Callable[[], None],
    ) -> None:
        self._healthy, self._defective = healthy, defective
        self._deploy, self._promote = deploy, promote
        self._candidate = healthy
        self._mode = "disabled"

    def see(self, mode: str) -> None:
        """Take note of the mode; where a release has ended, the next one is deployed."""
        ended = self._mode != "disabled" and mode == "disabled"
        if ended:
            if self._mode == "full":
                self._promote()
            self._candidate = self._defective if self._candidate is self._healthy else self._healthy
            self._deploy(self._candidate)
        self._mode = mode


def files_of(folder: Path) -> Files:
    """Return what the service shares with Rollguard in a folder, made where it is missing."""
    files = Files(
        folder / "var" / "events.jsonl", folder / "var" / "flags.json", folder / "config" / "app.yml"
    )
    if not files.config.exists():
        prepare(folder, files, market.load())
        registry = Registry(folder / "models" / "registry")
        registry.add("model-1")
        registry.activate("model-1")
        registry.add("model-2")
    return files


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--rollout", type=click.Path(path_type=Path), required=True, help="Its rollout file.")
def main(folder: Path, rollout: Path) -> None:
    """Trade until stopped, in FOLDER, which exporters and control plane share."""
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    bars, files = market.load(), files_of(folder)
    while not files.flags.exists():  # the control plane writes them
        if stopping.wait(POLL_SECONDS):
            return
    healthy = models.candidate(bars)
    service = TradingService(
        files,
        stream(bars, 1),
        active=models.active(bars),
        candidate=healthy,
        flag=load_rollout(rollout).flag.key,
        scale=SCALE,
        client=flag_client(files.flags),
    )
    releases = Releases(healthy, models.defective(healthy), service.deploy, service.promote_candidate)
    service.start()
    while not stopping.wait(POLL_SECONDS) and service.is_alive():
        releases.see(yaml.safe_load(files.config.read_text(encoding="utf-8"))["rollout"]["mode"])
    service.stop()
    if service.error:
        sys.exit(f"the trading service failed: {service.error!r}")


if __name__ == "__main__":
    main()
