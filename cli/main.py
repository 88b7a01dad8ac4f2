"""The command line: the one place that prints, and that knows every part."""

from __future__ import annotations

import io
import signal
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

COMMANDS = {
    "init": ("files.init", "Write a commented rollout file that passes `rollguard check`, in mode observe."),
    "check": (
        "check.check",
        "Check rollout files and what they render to: every mistake at once, with file, line and key.",
    ),
    "generate": (
        "files.generate",
        "Render rules, their tests, and the configuration of Prometheus and Alertmanager.",
    ),
    "test": ("files.test", "Run promtool's tests of every guard, and refuse tests that only look green."),
    "simulate": (
        "simulate.simulate",
        "Play ROLLOUT many times on made-up traffic: how often is it rolled back, held, in full?",
    ),
    "budget": (
        "budget.budget_command",
        "Show how long each guard takes from a breach to the flip, and which setting helps most.",
    ),
    "diff": (
        "diff.diff",
        "Say what the rollouts' changes since the git revision REV change in rules, routes and time.",
    ),
    "dashboards": ("dashboards.dashboards", "Make Grafana's dashboards from the rollouts."),
    "schema": ("files.schema", "Print the JSON schema of a rollout file, for editors."),
    "up": (
        "up.up",
        "Run exporters, Prometheus, Alertmanager and the control plane on this machine, until Ctrl-C.",
    ),
    "serve": (
        "serve.serve",
        "Run the control plane: takes notifications, decides, keeps the ledger, serves the flags.",
    ),
    "export": ("export.export", "Run an exporter: turns what a service writes into metrics for Prometheus."),
    "baseline": ("baseline.baseline", "Keep what is normal, to measure drift against."),
    "status": ("status.status", "Show where every rollout stands; with ROLLOUT its guards and targets too."),
    "start": ("operate.start", "Begin the next run of ROLLOUT, in its first stage."),
    "approve": (
        "operate.approve",
        "Let the next stage of ROLLOUT begin by itself, as soon as everything else is met.",
    ),
    "promote": (
        "operate.promote",
        "Take ROLLOUT to its next stage, once this one is over; after the last, it is enabled for good.",
    ),
    "rollback": (
        "operate.rollback",
        "Take ROLLOUT back now, by hand, and with it the rollouts that require it.",
    ),
    "pause": (
        "operate.pause",
        "Leave ROLLOUT where it is: until it is resumed, no guard rolls it back. `rollback` still does.",
    ),
    "resume": ("operate.resume", "End the pause of ROLLOUT."),
    "acknowledge": (
        "operate.acknowledge",
        "Say that you have looked at why ROLLOUT went back: the next start or promotion needs it.",
    ),
    "drill": (
        "drill.drill",
        "Try out the way of a rollback: a harmless alert from Prometheus to the flag drill.ROLLOUT, timed.",
    ),
    "history": ("operate.history", "Show the ledger: what was decided, when, by whom and why."),
    "verify": (
        "operate.verify",
        "Walk the ledger's hash chain, and name the first entry that was changed or lost.",
    ),
    "archive": (
        "archive.archive",
        "Move the ledger's oldest entries into a file of JSON lines, with their hashes.",
    ),
    "completion": ("completion.completion", "Print the completion script for a shell."),
}
"""Module and function of each command, and the first sentence of its help."""


class _Commands(click.Group):
    """Imports a command once it is asked for: all of them take two seconds and 40 MiB."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        width = formatter.width - 6 - max(map(len, COMMANDS))
        rows = [
            (name, click.Command(name, help=COMMANDS[name][1]).get_short_help_str(width))
            for name in self.list_commands(ctx)
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, function = COMMANDS[cmd_name][0].split(".")
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
    # nohup, cron and shells that start a job in the background hand SIGINT on as ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
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
