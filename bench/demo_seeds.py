"""The whole demonstration over many seeds: the healthy release must always stay, the defective one never.

Slow: about a minute a seed.

    python -m bench seeds --seeds 20
"""

from __future__ import annotations

import re
import statistics
import tempfile
import time
from pathlib import Path

import click

from demo.scene import UnexpectedError
from demo.story import Story
from rollguard.errors import RollguardError


@click.command()
@click.option("--seeds", type=click.IntRange(min=1), default=20, show_default=True)
def seeds(seeds: int) -> None:
    """Tell the demonstration's story once for each seed; exit 1 if one of them went otherwise."""
    failed, took = 0, []
    for seed in range(1, seeds + 1):
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="rollguard-seed-") as folder:
            try:
                outcome = Story(Path(folder), seed, True, lambda _: None).tell()
                match = re.search(r"in ([\d.]+) s", outcome)
                took.append(float(match[1]) if match else 0.0)
            except (UnexpectedError, RollguardError) as error:
                failed, outcome = failed + 1, f"UNEXPECTED: {error}"
        click.echo(f"seed {seed:>3}: {outcome} ({time.monotonic() - began:.0f} s)")
    click.echo(
        f"{seeds - failed} of {seeds} seeds: the healthy release stayed, the defective one was rolled back"
    )
    if took:
        middle = statistics.median(took)
        click.echo(f"breach exposed → client reads off: median {middle:.2f} s, max {max(took):.2f} s")
    raise SystemExit(1 if failed else 0)
