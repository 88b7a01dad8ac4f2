"""`rollguard dashboards`: dashboards as files, and into a Grafana that exists already."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import click

from rollguard.cli.options import (
    UrlType,
    count,
    examples,
    json_option,
    print_json,
    rollouts_option,
    scale_option,
)
from rollguard.dashboards.grafana.push import Grafana
from rollguard.dashboards.kit.base_dashboard import RUNBOOKS
from rollguard.exporters.exported_metrics import exported_metrics
from rollguard.generators.dashboards import files as dashboard_files
from rollguard.spec.loading import load_rollouts
from rollguard.tokens import read_tokens

runbooks_option = click.option(
    "--runbooks",
    default=RUNBOOKS,
    show_default=True,
    help="Base URL of the runbooks, to which panels link.",
)


@click.group()
def dashboards() -> None:
    """Make Grafana's dashboards from the rollouts."""


@dashboards.command(
    epilog=examples(
        "rollguard dashboards generate --out dashboards/generated",
        "rollguard dashboards generate --out dashboards/generated --check",
        "rollguard dashboards generate --out boards --runbooks https://wiki.example.org/runbooks",
    )
)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder to write to."
)
@rollouts_option
@scale_option
@runbooks_option
@click.option("--check", "only_check", is_flag=True, help="Write nothing; exit 1 if a file is out of date.")
def generate(out: Path, rollouts: Path, scale: float, runbooks: str, only_check: bool) -> None:
    """Write a dashboard for each rollout, for all of them, for the platform and for each watched system."""
    files = dashboard_files.dashboard_files(load_rollouts(rollouts), exported_metrics, scale, runbooks)
    if only_check:
        stale = dashboard_files.outdated(files, out)
        for path in stale:
            click.echo(f"{path}: is out of date. Run: rollguard dashboards generate --out {out}", err=True)
        raise click.exceptions.Exit(1 if stale else 0)
    changed = dashboard_files.write(files, out)
    click.echo(f"{count(len(files), 'dashboard')} in {out}, {len(changed)} changed.")


@dashboards.command(
    epilog=examples(
        "rollguard dashboards push --url http://127.0.0.1:3000 --token-file grafana-token --dry-run --diff",
        "rollguard dashboards push --url https://grafana.example.org --token-file grafana-token",
    )
)
@click.option("--url", type=UrlType(), required=True, help="Base URL of Grafana.")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    required=True,
    help="File with the token of a service account.",
)
@click.option("--folder", default="Rollguard", show_default=True, help="Title of the folder.")
@click.option("--folder-uid", default="rollguard", show_default=True, help="Its uid; made where missing.")
@rollouts_option
@scale_option
@runbooks_option
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
@click.option("--diff", is_flag=True, help="Also show each change, line by line.")
@json_option
def push(
    url: str,
    token_file: Path,
    folder: str,
    folder_uid: str,
    rollouts: Path,
    scale: float,
    runbooks: str,
    dry_run: bool,
    diff: bool,
    as_json: bool,
) -> None:
    """Bring the dashboards of a Grafana up to date: all of them, or none where one is refused."""
    files = dashboard_files.dashboard_files(load_rollouts(rollouts), exported_metrics, scale, runbooks)
    with closing(Grafana(url, read_tokens(token_file)[0].decode("ascii"))) as grafana:
        wanted = [json.loads(text) for text in files.values()]
        changes = grafana.push(wanted, folder_uid, folder, dry_run=dry_run)
    if as_json:
        print_json([vars(change) for change in changes])
        return
    for change in changes:
        if change.kind != "unchanged":
            click.echo(f"{change.kind}: {change.title} ({change.uid})")
        if diff and change.diff:
            click.echo(change.diff)
    due = sum(change.kind != "unchanged" for change in changes)
    would = "would change; nothing was written" if dry_run else "changed"
    click.echo(f"{count(len(changes), 'dashboard')}, {due} {would}.")
