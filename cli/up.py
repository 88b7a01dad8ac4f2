"""`rollguard up`: everything on this machine."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from rollguard.cli.local import stack
from rollguard.cli.options import STATE_FOLDER, examples, rollouts_option, routing_option, scale_option
from rollguard.errors import FileProblemsError
from rollguard.generators.alertmanager.receivers import load_routing
from rollguard.spec.loading import load_sound


@click.command(epilog=examples("rollguard up", "rollguard up --time-scale 60 --free-ports"))
@rollouts_option
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=STATE_FOLDER,
    show_default=True,
    help="Where configuration, ledger, token and logs are kept.",
)
@click.option(
    "--root",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=Path(),
    help="Where relative paths of events and targets start. Default: here.",
)
@routing_option
@scale_option
@click.option("--free-ports", is_flag=True, help="Take free ports in place of the usual ones.")
def up(
    rollouts: Path, folder: Path, root: Path, routing: Path | None, scale: float, free_ports: bool
) -> None:
    """Run exporters, Prometheus, Alertmanager and the control plane on this machine, until Ctrl-C.

    What ends by itself is started again. A broken rollout file keeps no other rollout from being guarded;
    a run whose file is gone or broken is guarded by what the ledger noted of it.
    """
    sound, problems, broken = load_sound(rollouts)
    noted = stack.noted_runs(folder, sound, broken)
    if not (sound or noted):
        raise FileProblemsError(problems)
    for problem in sorted(problems):
        click.echo(problem, err=True)
    for rollout in noted:
        click.echo(
            f"{rollout.name}: its file is of no use; its run is guarded as the ledger noted it", err=True
        )
    settings = stack.Settings(sound, folder, root, scale, free_ports, load_routing(routing), noted)
    stack.run(settings, click.echo, partial(click.echo, err=True))
