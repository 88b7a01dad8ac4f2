"""`rollguard completion`: the shell's own completion of commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from rollguard.cli.options import examples


@click.command(epilog=examples('eval "$(rollguard completion bash)"', "rollguard completion fish | source"))
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script for a shell."""
    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(context.find_root().command, {}, "rollguard", "_ROLLGUARD_COMPLETE").source())
