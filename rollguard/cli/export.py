"""`rollguard export NAME`: an exporter as a process, one command for each watched system."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from exporters import canary as canary_exporter
from exporters import features as features_exporter
from exporters import forecast as forecast_exporter
from exporters import screener as screener_exporter
from exporters import validation as validation_exporter
from exporters.declaration import load_declaration, shipped_declaration
from exporters.follower import Exporter
from exporters.forecast_table import CALIBRATIONS, FORECASTS
from exporters.runner import Settings, run
from exporters.screener_baseline import ScreenerBaseline
from exporters.sources.file import FileSource
from rollguard.cli.common import Command, DurationType, examples, log_to_stderr


def running_options(listen: str) -> Callable[[Command], Command]:
    """Give a command what every exporter takes: --listen, --checkpoint, --once.

    Args:
        listen: host:port where nothing else is said.
    """

    def decorate(command: Command) -> Command:
        command = click.option("--once", is_flag=True, help="Read to the end, print the metrics, stop.")(
            command
        )
        command = click.option(
            "--checkpoint",
            type=click.Path(path_type=Path),
            help="Default: beside the first file that is read.",
        )(command)
        return click.option("--listen", default=listen, show_default=True, help="host:port.")(command)

    return decorate


def start(exporter: Exporter, *, listen: str, checkpoint: Path | None, once: bool) -> None:
    """Run an exporter to its end, and exit.

    Args:
        exporter: which.
        listen: host:port.
        checkpoint: its file; None for one beside the first file that is read, else in this folder.
        once: read to the end and print.
    """
    log_to_stderr()
    settings = Settings(listen=listen, checkpoint=checkpoint or _default_checkpoint(exporter), once=once)
    raise click.exceptions.Exit(run(exporter, settings))


def _default_checkpoint(exporter: Exporter) -> Path:
    first = str(exporter.inputs()[0].source)
    if "://" in first or "*" in first:
        return Path(f"{exporter.name}.rollguard-checkpoint")
    return Path(f"{first}.rollguard-checkpoint")


class DatabaseType(click.ParamType[str]):
    """A database's URL, or ${NAME} of an environment variable that holds it, as URLs have passwords."""

    name = "url"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the URL, or fail where the variable is not set."""
        text = str(value)
        if not (text.startswith("${") and text.endswith("}")):
            return text
        if not (found := os.environ.get(text[2:-1])):
            self.fail(f"the environment variable {text[2:-1]} is not set.", param, ctx)
        return found


@click.group()
def export() -> None:
    """Run an exporter: turns a service's events into metrics for Prometheus."""


@export.command(
    epilog=examples(
        "rollguard export canary --events var/events.jsonl --reference var/reference.json",
        "rollguard export canary --events var/events.jsonl --once",
    )
)
@click.option("--events", required=True, help="Path, pattern or redis://…?stream=…; see docs/events.md.")
@click.option("--reference", type=click.Path(path_type=Path), help="Saved quantile bins; none: no drift.")
@click.option("--window", type=DurationType(), default="30m", show_default=True, help="Rolling window.")
@click.option("--min-sample", type=click.IntRange(min=1), default=300, show_default=True, help="For drift.")
@running_options(canary_exporter.LISTEN)
def canary(events: str, reference: Path | None, window: float, min_sample: int, **running: Any) -> None:
    """Watch a model canary's executor and scorer by the events they write."""
    exporter = canary_exporter.canary(
        events, reference=reference, window_seconds=window, min_sample=min_sample
    )
    start(exporter, **running)


@export.command(
    epilog=examples(
        "rollguard export validation --events var/validation.jsonl",
        "rollguard export validation --events var/validation.jsonl --once",
    )
)
@click.option("--events", required=True, help="JSON lines, a path or a pattern; see docs/validation.md.")
@running_options(validation_exporter.LISTEN)
def validation(events: str, **running: Any) -> None:
    """Watch a validation of signals by its decisions and executions."""
    start(validation_exporter.Validation(FileSource(events)), **running)


@export.command(
    epilog=examples(
        "rollguard export features --events var/features.jsonl",
        "rollguard export features --events var/features.jsonl --metrics features.yaml",
    )
)
@click.option("--events", required=True, help="JSON lines, a path or a pattern; see docs/features.md.")
@click.option(
    "--metrics", type=click.Path(path_type=Path), help="Declaration of the metrics. Default: the shipped one."
)
@running_options(features_exporter.LISTEN)
def features(events: str, metrics: Path | None, **running: Any) -> None:
    """Watch several features by measurements that name their rollout."""
    declaration = load_declaration(metrics) if metrics else shipped_declaration()
    start(features_exporter.Features(FileSource(events), declaration), **running)


@export.command(
    epilog=examples(
        "rollguard export forecast --database sqlite:///forecasts.db --env .env.canary",
        "rollguard export forecast --database '${DATABASE_URL}' --once",
    )
)
@click.option("--database", type=DatabaseType(), required=True, help="Its URL, or ${NAME} of a variable.")
@click.option(
    "--env", type=click.Path(path_type=Path), help="File with CANARY_SYMBOLS, CANARY_HORIZONS; none: all."
)
@click.option("--log", help="Log of the forecast job, a path or a pattern; none: no critical errors.")
@click.option("--forecasts", default=FORECASTS, help="SQL; default: see docs/forecast.md.")
@click.option("--calibrations", default=CALIBRATIONS, help="SQL; default: see docs/forecast.md.")
@running_options(forecast_exporter.LISTEN)
def forecast(
    database: str, env: Path | None, log: str | None, forecasts: str, calibrations: str, **running: Any
) -> None:
    """Watch an ensemble of forecasting models by its validation table, forecasts and log."""
    exporter = forecast_exporter.Forecast(
        database, env=env, log=log, forecasts=forecasts, calibrations=calibrations
    )
    start(exporter, **running)


@export.command(
    epilog=examples(
        "rollguard export screener --log 'logs/celery*.log' --database sqlite:///scans.db --universe 5200",
        "rollguard export screener --log celery.log --once",
    )
)
@click.option("--log", required=True, help="Log of the Celery workers, a path or a pattern.")
@click.option("--database", type=DatabaseType(), help="URL of the table scan_results; none: the log only.")
@click.option("--universe", type=click.IntRange(min=1), help="Symbols to score; none: no coverage.")
@click.option("--baseline", type=click.Path(path_type=Path), help="Saved baseline; none: no drift of scores.")
@running_options(screener_exporter.LISTEN)
def screener(
    log: str, database: str | None, universe: int | None, baseline: Path | None, **running: Any
) -> None:
    """Watch a stock screener by the log of its workers and its results."""
    saved = ScreenerBaseline.load(baseline) if baseline else None
    exporter = screener_exporter.Screener(log, database=database, universe=universe, baseline=saved)
    start(exporter, **running)
