"""`make demo`: a real regression, found by a real guard, becomes a flipped flag."""

from __future__ import annotations

import shutil
import signal
import sys
from pathlib import Path

import click

from demo.scene import UnexpectedError
from demo.story import Story
from rollguard.errors import RollguardError


@click.command()
@click.option(
    "--seed", type=int, default=1, show_default=True, help="Draws the first day, and what is synthetic."
)
@click.option(
    "--no-defect", is_flag=True, help="Release 2 is healthy too: nothing is rolled back, exit status 1."
)
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".demo"),
    show_default=True,
    help="Where everything is written; emptied first.",
)
def main(seed: int, no_defect: bool, folder: Path) -> None:
    """Ramp a healthy release, then a defective one, and see what happens."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # nohup and cron hand it on as ignored
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    marker = folder / ".rollguard-demo"
    if folder.exists() and any(folder.iterdir()) and not marker.exists():
        raise click.ClickException(f"{folder} is not empty and not the demo's; name another by --dir.")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    marker.touch()
    try:
        outcome = Story(folder.resolve(), seed, not no_defect, click.echo).tell()
    except (UnexpectedError, RollguardError) as error:
        click.echo(f"\ndemo: unexpected: {str(error).rstrip('.')}. Logs: {folder / 'rollguard' / 'logs'}")
        sys.exit(1)
    click.echo(f"\ndemo: {outcome}")


if __name__ == "__main__":
    main()
