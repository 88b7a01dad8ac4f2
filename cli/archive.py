"""`rollguard archive`: the oldest entries of the ledger go into files; none is deleted."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

import click

from rollguard.cli.operate import user
from rollguard.cli.options import DurationType, examples


@click.command(
    epilog=examples(
        "rollguard archive --state sqlite:////var/lib/rollguard/ledger.db --keep 90d --to archive"
    )
)
@click.option("--state", required=True, help="URL of the ledger; the control plane may go on running.")
@click.option(
    "--to",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder for the file.",
)
@click.option("--keep", type=DurationType(), default="90d", show_default=True, help="What is younger stays.")
def archive(state: str, folder: Path, keep: float) -> None:
    """Move the ledger's oldest entries into a file of JSON lines, with their hashes."""
    from rollguard.ledger import Ledger

    with closing(Ledger.open(state)) as ledger:
        now = time.time()
        path = ledger.archive(now - keep, folder, now, user())
    click.echo(f"Wrote {path}." if path else "Nothing is so old.")
