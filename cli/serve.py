"""`rollguard serve`: the control plane."""

from __future__ import annotations

from pathlib import Path

import click

from rollguard.cli.options import (
    STATE_FOLDER,
    TOKEN_FILE,
    DurationType,
    NetworkType,
    OriginType,
    UrlType,
    examples,
    log_to_stderr,
    rollouts_option,
    scale_option,
)
from rollguard.conventions import CONTROL_PLANE_PORT
from rollguard.server import run
from rollguard.spec.loading import load_sound
from rollguard.tokens import ROLES, Role


@click.command(
    epilog=examples(
        "rollguard serve --state sqlite:////var/lib/rollguard/ledger.db --token-file /etc/rollguard/token",
        "rollguard serve --rollouts rollouts --state sqlite:///ledger.db --token-file token",
    )
)
@click.option("--listen", default=f"127.0.0.1:{CONTROL_PLANE_PORT}", show_default=True, help="host:port.")
@rollouts_option
@click.option(
    "--state",
    default=f"sqlite:///{STATE_FOLDER}/ledger.db",
    show_default=True,
    help="Ledger's URL: of SQLite, or of PostgreSQL for two control planes at once.",
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    envvar="ROLLGUARD_TOKEN_FILE",
    show_envvar=True,
    help=f"File with bearer tokens for everything. Default: {TOKEN_FILE}, without --role-token.",
)
@click.option(
    "--role-token",
    "role_tokens",
    type=(click.Choice(ROLES), click.Path(path_type=Path)),
    multiple=True,
    metavar="ROLE FILE",
    help="File with bearer tokens of a role: alerts, operate or read; may be given several times.",
)
@click.option(
    "--tls",
    type=(click.Path(path_type=Path), click.Path(path_type=Path)),
    metavar="CERTIFICATE KEY",
    help="PEM files to speak HTTPS with.",
)
@click.option(
    "--alertmanager",
    "alertmanagers",
    type=UrlType(),
    multiple=True,
    default=["http://127.0.0.1:9093"],
    show_default=True,
    help="URL to reconcile with, and to tell people by; given once for each Alertmanager of a cluster.",
)
@click.option(
    "--prometheus",
    type=UrlType(),
    default="http://127.0.0.1:9090",
    show_default=True,
    help="URL of the Prometheus that evaluates the guards.",
)
@click.option(
    "--without-prometheus",
    is_flag=True,
    help="Ask none: nothing advances by itself, and nobody checks whether guards are loaded.",
)
@click.option(
    "--root",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=Path(),
    help="Where the targets' relative paths start. Default: here.",
)
@click.option(
    "--memory",
    type=click.Path(path_type=Path, file_okay=False),
    default=STATE_FOLDER / "targets",
    show_default=True,
    help="What must be remembered beside the ledger: which command has run, of what people were told.",
)
@click.option(
    "--poll", type=DurationType(least=0.1), default="2s", show_default=True, help="Between two polls."
)
@click.option(
    "--watch",
    type=DurationType(least=0.1),
    default="15s",
    show_default=True,
    help="Between two looks at Prometheus.",
)
@click.option(
    "--allow-origin",
    "origins",
    type=OriginType(),
    multiple=True,
    metavar="ORIGIN",
    help="Web origin whose pages may ask for flags, such as https://app.example; may be given several times.",
)
@click.option(
    "--trusted-proxy",
    "proxies",
    type=NetworkType(),
    multiple=True,
    metavar="NETWORK",
    help="Address or network of a proxy whose X-Forwarded-For is believed; may be given several times.",
)
@click.option(
    "--url",
    type=UrlType(),
    help="How people reach this control plane: a link in the notices that Alertmanager sends them.",
)
@scale_option
def serve(
    listen: str,
    rollouts: Path,
    state: str,
    token_file: Path | None,
    role_tokens: tuple[tuple[Role, Path], ...],
    tls: tuple[Path, Path] | None,
    alertmanagers: tuple[str, ...],
    prometheus: str,
    without_prometheus: bool,
    root: Path,
    memory: Path,
    poll: float,
    watch: float,
    origins: tuple[str, ...],
    proxies: tuple[str, ...],
    url: str | None,
    scale: float,
) -> None:
    """Run the control plane: takes notifications, decides, keeps the ledger, serves the flags.

    A run whose rollout file is gone or broken goes on by what the ledger noted of it, and is told.
    """
    log_to_stderr()
    sound, problems, broken = load_sound(rollouts)
    everything = token_file or (None if role_tokens else TOKEN_FILE)
    run.serve(
        run.Options(
            rollouts=sound,
            problems=problems,
            broken=broken,
            state=state,
            token_files=[*role_tokens, *([(None, everything)] if everything else [])],
            tls=tls,
            listen=listen,
            alertmanagers=alertmanagers,
            prometheus=None if without_prometheus else prometheus,
            root=root,
            memory=memory,
            scale=scale,
            poll_seconds=poll,
            watch_seconds=watch,
            origins=origins,
            proxies=proxies,
            url=url or "",
        )
    )
