"""How soon a flagd file shared by 300 rollouts shows all of their rollbacks, after the last commit.

The control plane is a process of its own, as `rollguard serve` starts it, and all its rollouts are on. They
are taken back by a single notification, then by one each, over 16 connections. The time runs from the last
reply, which comes after the commit, until the file shows every fallback.

    python -m bench shared-file --rounds 3
"""

from __future__ import annotations

import platform
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

from bench.measuring import spread
from tests.contract.many_rollouts import NAMES, Served
from tests.polling import eventually


def _seconds_behind(notifications: Sequence[Sequence[str]]) -> tuple[float, float]:
    """Return how long notifications took to be answered, and how long after that the file was whole."""
    with tempfile.TemporaryDirectory(prefix="rollguard-bench-") as folder:
        served = Served(Path(folder))
        served.child.start()
        try:
            served.child.wait_until_ready(60)
            eventually(lambda: served.all_are("candidate"), "all are on in the file")
            begun = time.monotonic()
            with ThreadPoolExecutor(16) as senders:
                list(senders.map(served.fall, notifications))
            answered = time.monotonic()
            eventually(lambda: served.all_are("active"), "all are off in the file", every=0.002)
            return answered - begun, time.monotonic() - answered
        finally:
            served.stop()


@click.command("shared-file", help=__doc__)
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="Of each kind.")
def shared_file(rounds: int) -> None:
    """Print how long after the last reply the file shows all, for one notification and for one each."""
    click.echo(
        f"{platform.machine()}, Python {platform.python_version()}; {rounds} rounds of {len(NAMES)} rollouts"
    )
    for what, notifications in (
        ("one notification", [NAMES]),
        (f"{len(NAMES)} notifications", [[name] for name in NAMES]),
    ):
        took = [_seconds_behind(notifications) for _ in range(rounds)]
        answered, behind = ([1000 * pair[place] for pair in took] for place in (0, 1))
        click.echo(f"{what}: answered in {spread(answered)} ms; file whole {spread(behind)} ms later")
