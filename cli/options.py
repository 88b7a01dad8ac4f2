"""What several commands share: options, and how results are shown."""

from __future__ import annotations

import ipaddress
import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import click

from rollguard import durations
from rollguard.errors import FileProblemsError, Problem, without_login

Command = TypeVar("Command", bound=Callable[..., Any])

STATE_FOLDER = Path(".rollguard")
"""Where `rollguard up` keeps its token, ledger and logs, unless told otherwise."""
TOKEN_FILE = STATE_FOLDER / "token"
"""Where a client finds its token, unless told otherwise."""


class UrlType(click.ParamType[str]):
    """The base URL of a server."""

    name = "url"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the URL as it is, or fail with what was expected."""
        import httpx

        try:
            url = httpx.URL(value)
        except httpx.InvalidURL:
            url = httpx.URL("")
        if url.scheme not in {"http", "https"} or not url.host:
            shown = without_login(value)
            self.fail(f"{shown!r}, expected a URL such as http://127.0.0.1:9093.", param, ctx)
        return value


rollouts_option = click.option(
    "--rollouts",
    type=click.Path(path_type=Path),
    default=Path("rollouts"),
    show_default=True,
    help="Folder with rollout files, or one file.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
scale_option = click.option(
    "--time-scale",
    "scale",
    type=click.FloatRange(min=1),
    default=1.0,
    show_default=True,
    metavar="N",
    help="Divide every duration by N: an hour in a minute, with the same rules.",
)
routing_option = click.option(
    "--routing",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Settings of chat and e-mail. Default: alerts/routing.yaml, where it exists.",
)
own_alertmanager_option = click.option(
    "--alertmanager-config",
    "own",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Alertmanager's file of your own: how do rollbacks and holds fare in it?",
)
token_option = click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    envvar="ROLLGUARD_TOKEN_FILE",
    show_envvar=True,
    default=TOKEN_FILE,
    show_default=True,
    help="File with the bearer token.",
)


class OriginType(click.ParamType[str]):
    """A web origin as browsers send it, or ``*`` for any."""

    name = "origin"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the origin as it is, or fail with what was expected."""
        if value != "*" and not re.fullmatch(r"https?://[^/?#\s@]+", value):
            self.fail(
                f"{value!r}, expected one such as https://app.example, without a path, or *.", param, ctx
            )
        return value


class NetworkType(click.ParamType[str]):
    """An address or a network of IPv4 or IPv6."""

    name = "network"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return it as it is, or fail with what was expected."""
        try:
            ipaddress.ip_network(value)
        except ValueError as error:
            self.fail(f"{error}, expected one such as 10.0.0.7 or 10.0.0.0/24.", param, ctx)
        return value


class DurationType(click.ParamType[float]):
    """A duration in Prometheus's form, as seconds.

    Args:
        least: seconds; what is shorter is refused.
    """

    name = "duration"

    def __init__(self, least: float = 0.0) -> None:
        self._least = least

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the seconds, or fail with what was expected."""
        try:
            found = value if isinstance(value, float) else durations.parse(str(value))
        except ValueError as error:
            self.fail(f"{value!r}, {error}.", param, ctx)
        if found < self._least:
            self.fail(f"{value!r}, expected at least {durations.render(self._least)}.", param, ctx)
        return found


class _Formatter(logging.Formatter):
    """Writes lines, and tracebacks below them, without the logins of URLs."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as text."""
        return without_login(super().format(record))


def log_to_stderr() -> None:
    """Log as a service does, without a line per HTTP request."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("httpx").setLevel(logging.WARNING)


def examples(*lines: str) -> str:
    """Return an epilog with examples, kept line by line."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def print_json(data: Any) -> None:
    """Print data as JSON that a person can read too."""
    click.echo(json.dumps(data, indent=2, ensure_ascii=False))


def problems_as_data(problems: Iterable[Problem]) -> list[dict[str, Any]]:
    """Return what is wrong with files as JSON data."""
    return [{**asdict(problem), "path": str(problem.path)} for problem in problems]


@contextmanager
def broken_files_as_json(as_json: bool) -> Iterator[None]:
    """Where JSON is asked for, print mistakes in files as JSON, too, and exit with 1."""
    try:
        yield
    except FileProblemsError as error:
        if not as_json:
            raise
        print_json({"problems": problems_as_data(error.problems)})
        raise click.exceptions.Exit(1) from error


def count(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 rollout``, ``2 rollouts``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def seconds(value: float) -> str:
    """Return seconds in three digits, or in Prometheus's form from a minute on: ``31.8s``, ``10m32s``."""
    return f"{value:.3g}s" if value < 60 else durations.render(round(value))


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """Return rows as aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
