"""`rollguard baseline save | show | diff`: what is normal, to measure drift against."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from rollguard.cli.export import DatabaseType
from rollguard.cli.options import examples, json_option, print_json
from rollguard.exporters.baseline_diff import differences, load, side
from rollguard.exporters.canary.served import reference_of
from rollguard.exporters.measures.reference import Reference
from rollguard.exporters.screener.baseline import ScreenerBaseline, screener_baseline
from rollguard.exporters.screener.metrics import RATINGS
from rollguard.exporters.screener.rankings import is_pyramid

_File = click.Path(path_type=Path)


@click.group()
def baseline() -> None:
    """Keep what is normal, to measure drift against."""


@baseline.command(
    epilog=examples(
        "rollguard baseline save --events var/events.jsonl --out var/reference.json",
        "rollguard baseline save --log celery.log --database sqlite:///scans.db --out scan.json",
    )
)
@click.option("--events", type=_File, multiple=True, help="Of a canary: JSON lines of a good time.")
@click.option(
    "--variant", type=click.Choice(["candidate", "active"]), help="Only what it served. Default: both."
)
@click.option("--log", help="Of a screener: log of the Celery workers, a path or a pattern.")
@click.option("--database", type=DatabaseType(), help="Of a screener: URL of the table scan_results.")
@click.option("--notes", default="", help="Of a screener: what people found when they checked the scan.")
@click.option("--out", type=_File, required=True, help="File to write.")
def save(
    events: tuple[Path, ...],
    variant: str | None,
    log: str | None,
    database: str | None,
    notes: str,
    out: Path,
) -> None:
    """Save a canary's features (ten quantile bins of each), or a screener's newest scan."""
    if bool(events) == bool(log and database):
        raise click.UsageError("Give --events of a canary, or --log and --database of a screener.")
    if events:
        reference = reference_of(events, variant=variant, made_at=time.time())
        reference.save(out)
        click.echo(f"Wrote {out}: {len(reference.features)} features of {reference.rows} rows.")
        return
    assert log
    assert database
    scan = screener_baseline(log, database, notes=notes, made_at=time.time())
    scan.save(out)
    click.echo(f"Wrote {out}: {scan.n} symbols of scan {scan.scan_id}.")


@baseline.command(epilog=examples("rollguard baseline show var/reference.json"))
@click.argument("file", type=_File)
@json_option
def show(file: Path, as_json: bool) -> None:
    """Show what a baseline says, of what, when, and from where."""
    found = load(file)
    if as_json:
        print_json(msgspec.to_builtins(found))
        return
    click.echo(f"made {_time(found.made_at)} from {found.source}")
    if isinstance(found, Reference):
        _show_features(found)
    else:
        _show_scan(found)


@baseline.command(
    epilog=examples(
        "rollguard baseline diff var/reference.json var/newer.json",
        "rollguard baseline diff var/reference.json var/events.jsonl",
    )
)
@click.argument("old", type=_File)
@click.argument("new", type=_File)
@json_option
def diff(old: Path, new: Path, as_json: bool) -> None:
    """Compare two baselines, or with one a canary's events; exits with 1 where something moved much."""
    try:
        found = differences(side(old), side(new))
    except ValueError as error:
        raise click.ClickException(f"{old} and {new} cannot be compared: {error}.") from error
    if as_json:
        print_json([one._asdict() for one in found])
    else:
        for one in found:
            values = f"{one.old or '-':<32} -> {one.new or '-':<32}"
            click.echo(f"{'*' if one.moved else ' '} {one.what:<24} {values} {one.change}".rstrip())
    raise click.exceptions.Exit(1 if any(one.moved for one in found) else 0)


def _show_features(found: Reference) -> None:
    window = f", from {_time(found.window[0])} to {_time(found.window[1])}" if found.window else ""
    click.echo(f"{found.rows} rows{window}")
    for name, bins in found.features.items():
        edges = ", ".join(f"{edge:.4g}" for edge in bins.edges)
        click.echo(f"  {name:<24} {sum(bins.counts)} values, bins at {edges}")


def _show_scan(found: ScreenerBaseline) -> None:
    scores = sum(found.counts)
    click.echo(f"scan {found.scan_id}: {found.n} symbols, {found.ready} ready; {scores} scores in the table")
    for title, values in (("scores", found.scores), ("ratings", found.ratings)):
        click.echo(f"  {title:<10} {', '.join(f'{name} {value:g}' for name, value in values.items())}")
    click.echo(f"  pyramid    {'yes' if is_pyramid(found.ratings, RATINGS) else 'no'}")
    edges = [f"{edge:g}" for edge in found.edges]
    for low, high, count in zip(["", *edges], [*edges, ""], found.counts, strict=True):
        click.echo(f"  {low:>4} to {high:<4} {count}")
    if found.notes:
        click.echo(f"  notes      {found.notes}")


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
