"""The command line: the one place that prints, and that knows every part."""

from __future__ import annotations

import io
import sys
from importlib import import_module

import click

from rollguard import __version__
from rollguard.errors import FileProblemsError, RollguardError

FOUND_SOMETHING, COULD_NOT_RUN = 1, 2

EPILOG = """\b
The usual way:
  rollguard init my-rollout       write a commented rollout file
  rollguard check                 is every file right?
  rollguard test                  do the guards fire, and only when they should?
  rollguard up                    run everything on this machine
  rollguard start my-rollout      begin the first stage
  rollguard status                where does every rollout stand?

Exit codes: 0 all is well, 1 something was found, 2 the command could not run.
"""

_WHERE = {
    "init": "files.init",
    "check": "check.check",
    "generate": "files.generate",
    "test": "files.test",
    "budget": "budget.budget_command",
    "diff": "diff.diff",
    "dashboards": "dashboards.dashboards",
    "schema": "files.schema",
    "up": "run.up",
    "serve": "run.serve",
    "export": "export.export",
    "baseline": "baseline.baseline",
    "status": "status.status",
    "start": "operate.start",
    "approve": "operate.approve",
    "promote": "operate.promote",
    "rollback": "operate.rollback",
    "pause": "operate.pause",
    "resume": "operate.resume",
    "acknowledge": "operate.acknowledge",
    "drill": "drill.drill",
    "history": "operate.history",
    "verify": "operate.verify",
    "archive": "archive.archive",
    "completion": "run.completion",
}
"""Module and function of each command."""


class _Commands(click.Group):
    """Imports a command once it is asked for: all of them take half a second and 40 MiB."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_WHERE)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _WHERE:
            return None
        module, function = _WHERE[cmd_name].split(".")
        command: click.Command = getattr(import_module(f"rollguard.cli.{module}"), function)
        return command


@click.group(
    cls=_Commands,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="rollguard")
def cli() -> None:
    """Guard staged rollouts: when a guard fires, the flag flips back, durably, and says why."""


def main() -> None:
    """Run the command line, and turn errors into one message and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # what a terminal cannot show must not end a command
    try:
        # The code of click's Exit is returned, not raised.
        code = cli.main(prog_name="rollguard", standalone_mode=False)
    except click.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(COULD_NOT_RUN)
    except FileProblemsError as error:
        click.echo(str(error), err=True)
        count = len(error.problems)
        click.echo(f"{count} {'error' if count == 1 else 'errors'}.", err=True)
        sys.exit(FOUND_SOMETHING)
    except RollguardError as error:
        click.echo(f"rollguard: {error}", err=True)
        sys.exit(COULD_NOT_RUN)
    except BrokenPipeError:
        sys.exit(COULD_NOT_RUN)
    except OSError as error:
        click.echo(f"rollguard: {error.filename or ''}: {error.strerror}.".replace(" : ", " "), err=True)
        sys.exit(COULD_NOT_RUN)
    sys.exit(code if isinstance(code, int) else 0)
