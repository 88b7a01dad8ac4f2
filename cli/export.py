"""`rollguard export NAME`: an exporter as a process, one command for each watched system."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from rollguard.cli.local import exporters
from rollguard.cli.options import (
    Command,
    DurationType,
    UrlType,
    examples,
    log_to_stderr,
    rollouts_option,
    scale_option,
)
from rollguard.conventions import EVIDENCE_PORT, MIN_INTERVAL_SECONDS, PROMETHEUS_PORT
from rollguard.exporters.canary import exporter as canary_exporter
from rollguard.exporters.features import exporter as features_exporter
from rollguard.exporters.features.declaration import load_declaration, shipped_declaration
from rollguard.exporters.forecast import exporter as forecast_exporter
from rollguard.exporters.forecast.table import CALIBRATIONS, FORECASTS
from rollguard.exporters.runtime.follower import Exporter
from rollguard.exporters.runtime.runner import Settings, run
from rollguard.exporters.screener import exporter as screener_exporter
from rollguard.exporters.screener.baseline import ScreenerBaseline
from rollguard.exporters.sources.events import events_source
from rollguard.exporters.validation import exporter as validation_exporter
from rollguard.spec.loading import load_rollout, load_rollouts, load_sound
from rollguard.spec.rollout import Rollout

_ROLLOUT = f"{__name__}.rollout"


def running_options(listen: str) -> Callable[[Command], Command]:
    """Give a command what every exporter takes: --rollout, --listen, --checkpoint, --once.

    Args:
        listen: host:port where nothing else is said.
    """

    def decorate(command: Command) -> Command:
        command = click.option(
            "--once", is_flag=True, help="Read to the end, print the metrics as of the newest event, stop."
        )(command)
        command = click.option(
            "--checkpoint",
            type=click.Path(path_type=Path),
            help="What survives a restart. Default: beside the first file that is read.",
        )(command)
        command = click.option("--listen", default=listen, show_default=True, help="host:port.")(command)
        return click.option(
            "--rollout",
            type=click.Path(path_type=Path),
            is_eager=True,
            expose_value=False,
            callback=_take_from_rollout,
            help="Rollout file: what is not given here is what its scrape.exporter says.",
        )(command)

    return decorate


def _take_from_rollout(ctx: click.Context, param: click.Parameter, path: Path | None) -> None:
    """Let what a rollout file says of its exporter be the default of every option."""
    if path is None:
        return
    ctx.meta[_ROLLOUT] = path
    scrape = load_rollout(path).scrape
    if scrape.exporter is None or scrape.exporter.kind != ctx.info_name:
        raise click.UsageError(f"{path} has no scrape.exporter.{ctx.info_name}.", ctx)
    found = exporters.options(
        scrape.exporter, Path(), float, lambda text: click.echo(f"note: {text}", err=True)
    )
    ctx.default_map = {"listen": scrape.targets[0], **dict(found)}


def _staged(ctx: click.Context, param: click.Parameter, paths: tuple[Path, ...]) -> list[Rollout]:
    """Return the rollouts whose stages an exporter is to know: of --stages, else of --rollout."""
    found: list[Rollout] = []
    for path in paths or filter(None, [ctx.meta.get(_ROLLOUT)]):
        if not path.is_dir():
            found.append(load_rollout(path))
            continue
        sound, problems, _ = load_sound(path)
        found += sound
        for problem in problems:
            click.echo(f"note: {problem}", err=True)
    return found


stages_option = click.option(
    "--stages",
    "rollouts",
    type=click.Path(path_type=Path),
    multiple=True,
    callback=_staged,
    help="Rollout file or folder that says the stages' percents; repeatable. Default: --rollout.",
)


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
    if "*" not in first and "://" not in first:
        return Path(f"{first}.rollguard-checkpoint")
    folder = Path() if "://" in first else Path(first).parent
    return (Path() if "*" in str(folder) else folder) / f"{exporter.name}.rollguard-checkpoint"


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
    """Run an exporter: turns what a service writes into metrics for Prometheus.

    Metrics are at http://HOST:PORT/metrics, which answers 503 until all that there is has been read; the page
    at / tells how it goes and lists what is offered. See docs/exporters.md.
    """


@export.command(
    epilog=examples(
        "rollguard export canary --events var/events.jsonl --reference var/reference.json",
        "rollguard export canary --events 'redis://127.0.0.1:6379/0?stream=events'",
        "rollguard export canary --rollout rollouts/model-canary.yaml --once",
    )
)
@click.option("--events", required=True, help="JSON lines: path, pattern or redis://…?stream=….")
@click.option("--reference", type=click.Path(path_type=Path), help="Saved quantile bins; none: no drift.")
@click.option("--window", type=DurationType(), default="30m", show_default=True, help="Rolling window.")
@click.option("--min-sample", type=click.IntRange(min=1), default=300, show_default=True, help="For drift.")
@stages_option
@running_options(canary_exporter.LISTEN)
def canary(
    events: str,
    reference: Path | None,
    window: float,
    min_sample: int,
    rollouts: list[Rollout],
    **running: Any,
) -> None:
    """Watch a model canary's executor and scorer by the events they write.

    Trades, orders and markouts by route, the stage's cohort, outcomes by arm, calibration, thresholds, and
    drift of the served features against --reference, which `rollguard baseline save` makes. Events and
    metrics: docs/events.md.
    """
    if len(rollouts) > 1:
        raise click.UsageError("--stages names several rollouts, and a canary is one's: name its file.")
    exporter = canary_exporter.canary(
        events,
        reference=reference,
        window_seconds=window,
        min_sample=min_sample,
        rollout=rollouts[0] if rollouts else None,
    )
    start(exporter, **running)


@export.command(
    epilog=examples(
        "rollguard export validation --events var/validation.jsonl",
        "rollguard export validation --rollout rollouts/signal-validation.yaml --once",
    )
)
@click.option("--events", required=True, help="JSON lines: path, pattern or redis://…?stream=….")
@running_options(validation_exporter.LISTEN)
def validation(events: str, **running: Any) -> None:
    """Watch a validation of signals by its decisions and executions.

    Rejections by check and reason, divergence and age of signals, executions, calls of the broker and the
    database. Events and metrics: docs/validation.md.
    """
    start(validation_exporter.Validation(events_source(events)), **running)


@export.command(
    epilog=examples(
        "rollguard export features --events var/features.jsonl",
        "rollguard export features --events var/features.jsonl --metrics features.yaml",
        "rollguard export features --rollout rollouts/gpu-lifecycle.yaml --once",
    )
)
@click.option("--events", required=True, help="JSON lines: path, pattern or redis://…?stream=….")
@click.option(
    "--metrics", type=click.Path(path_type=Path), help="Declaration of the metrics. Default: the shipped one."
)
@stages_option
@running_options(features_exporter.LISTEN)
def features(events: str, metrics: Path | None, rollouts: list[Rollout], **running: Any) -> None:
    """Watch several features by measurements that name their rollout.

    What becomes of a measurement is declared: field, unit, window, aggregate, labels. Each series carries the
    label rollout. Declaration and shipped metrics: docs/features.md.
    """
    declaration = load_declaration(metrics) if metrics else shipped_declaration()
    start(features_exporter.Features(events_source(events), declaration, rollouts=rollouts), **running)


@export.command(
    epilog=examples(
        "rollguard export evidence --rollouts rollouts --prometheus http://127.0.0.1:9090",
        "rollguard export evidence --rollouts rollouts --checkpoint var/evidence.checkpoint",
    )
)
@rollouts_option
@click.option(
    "--prometheus",
    type=UrlType(),
    default=f"http://127.0.0.1:{PROMETHEUS_PORT}",
    show_default=True,
    help="Its URL.",
)
@click.option(
    "--interval",
    type=DurationType(least=0.1),
    help="Between two looks. Default: the rollouts' shortest interval.",
)
@scale_option
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path),
    default=Path("evidence.rollguard-checkpoint"),
    show_default=True,
    help="What survives a restart.",
)
@click.option("--listen", default=f"127.0.0.1:{EVIDENCE_PORT}", show_default=True, help="host:port.")
def evidence(
    rollouts: Path, prometheus: str, interval: float | None, scale: float, checkpoint: Path, listen: str
) -> None:
    """Judge what Prometheus counted, for the guards by the templates `compare` and `limit`.

    At each look, the counters of both variants become evidence that the new one is worse, in a series of each
    guard's own, which its alert compares with a constant. Guards and metrics: docs/evidence.md.
    """
    from rollguard.exporters.evidence.exporter import EvidenceExporter
    from rollguard.monitoring.prometheus import Prometheus

    found = load_rollouts(rollouts)
    shortest = min((rollout.scrape.interval for rollout in found), default=15.0) / scale
    exporter = EvidenceExporter(
        found, Prometheus(prometheus), interval or max(MIN_INTERVAL_SECONDS, shortest), scale=scale
    )
    start(exporter, listen=listen, checkpoint=checkpoint, once=False)


@export.command(
    epilog=examples(
        "rollguard export forecast --database sqlite:///forecasts.db --env .env.canary",
        "rollguard export forecast --database '${DATABASE_URL}' --once",
        "rollguard export forecast --rollout rollouts/ensemble-forecast.yaml",
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
    """Watch an ensemble of forecasting models by its validation table, forecasts and log.

    Divergence of validation and test, errors against the stage's start and the ensemble before, overfitting,
    the database itself. SQLite and PostgreSQL, read only. Tables and metrics: docs/forecast.md.
    """
    exporter = forecast_exporter.Forecast(
        database, env=env, log=log, forecasts=forecasts, calibrations=calibrations
    )
    start(exporter, **running)


@export.command(
    epilog=examples(
        "rollguard export screener --log 'logs/celery*.log' --database sqlite:///scans.db --universe 5200",
        "rollguard export screener --log celery.log --once",
        "rollguard export screener --rollout rollouts/setup-engine.yaml",
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
    """Watch a stock screener by the log of its workers and its results.

    Scores, coverage, time and errors of a scan from the Celery log; ratings, gates, overlap of rankings and
    drift of scores from the table scan_results. Lines, table and metrics: docs/screener.md.
    """
    saved = ScreenerBaseline.load(baseline) if baseline else None
    exporter = screener_exporter.Screener(log, database=database, universe=universe, baseline=saved)
    start(exporter, **running)
