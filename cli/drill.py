"""The command that tries out the way of a rollback, from Prometheus to a flag."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from rollguard.cli.operate import actor_option, connected, reason_option, user
from rollguard.cli.options import DurationType, examples, json_option, print_json, seconds

if TYPE_CHECKING:
    from rollguard.client import Client

POLL_SECONDS = 0.02


@click.command(
    epilog=examples(
        "rollguard drill model-canary",
        "0 7 * * 1  rollguard drill model-canary --within 2m --reason cron    # in a crontab",
    )
)
@click.argument("rollout")
@actor_option
@reason_option
@click.option("--within", type=DurationType(), default="2m", show_default=True, help="Else it has failed.")
@json_option
@connected
def drill(client: Client, rollout: str, actor: str | None, reason: str, within: float, as_json: bool) -> None:
    """Try out the way of a rollback: a harmless alert from Prometheus to the flag drill.ROLLOUT, timed.

    The rollout stays as it is. The result is kept in the ledger; the exit code is 1 where the drill failed.
    """
    asked = {"actor": actor or user(), "reason": reason}
    began = time.monotonic()
    client.post(f"rollouts/{rollout}/drill", asked)
    seen = None
    try:
        seen = _wait(client, rollout, began, within)
    finally:
        result = client.post(f"rollouts/{rollout}/end_drill", {"actor": asked["actor"], "seen_seconds": seen})
    if as_json:
        print_json(result)
    else:
        _show(result)
    raise click.exceptions.Exit(0 if result["evidence"]["passed"] else 1)


def _wait(client: Client, rollout: str, began: float, within: float) -> float | None:
    """Return after how many seconds the drill's flag was seen flipped; None where it was not in time."""
    from rollguard.client import ServerError
    from rollguard.control.drill import flag_key

    while (passed := time.monotonic() - began) < within:
        with suppress(ServerError):  # what lasts is in the result
            if client.flag(flag_key(rollout)):
                return round(time.monotonic() - began, 3)
        time.sleep(min(POLL_SECONDS, within - passed))
    return None


def _show(result: dict[str, Any]) -> None:
    click.echo(f"{result['rollout']}: {result['reason']}; entry {result['seq']} of the ledger")
    for step, took in result["evidence"]["steps"].items():
        click.echo(f"  {step:<24}{seconds(took)}")
