"""Where every rollout stands, at a glance; of one, what its guards and targets say."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from rollguard.cli.operate import ALERTS_UNKNOWN, connected, printable, text
from rollguard.cli.options import examples, json_option, print_json, table
from rollguard.durations import render

if TYPE_CHECKING:
    from rollguard.client import Client

WATCH_SECONDS = 2.0
_MOST_NAMES = 3

_HEAD = (
    *("ROLLOUT", "STATE", "STAGE", "PERCENT", "RUN", "SINCE"),
    *("HELD BY", "TIME LEFT", "GUARDS FIRING", "TARGETS"),
)


@click.command(
    epilog=examples(
        "rollguard status", "rollguard status --watch", "rollguard status model-canary --json | jq .waits_for"
    )
)
@click.argument("rollout", required=False)
@click.option("--watch", is_flag=True, help="Show it again every two seconds, until Ctrl-C.")
@json_option
@connected
def status(client: Client, rollout: str | None, watch: bool, as_json: bool) -> None:
    """Show where every rollout stands; with ROLLOUT its guards and targets too."""
    _show(client, rollout, as_json, watch)
    while watch:
        time.sleep(WATCH_SECONDS)
        click.clear()  # does nothing where no terminal is
        _show(client, rollout, as_json, watch)


def _show(client: Client, rollout: str | None, as_json: bool, by_line: bool) -> None:
    rows = [client.get(f"rollouts/{rollout}")] if rollout else client.get("rollouts")
    if as_json:
        found = rows[0] if rollout else rows
        click.echo(json.dumps(found, ensure_ascii=False)) if by_line else print_json(found)
        return
    click.echo("\n".join(_lines(rows)))
    if any(row["alerts_unknown"] for row in rows):
        click.echo(ALERTS_UNKNOWN, err=True)
    if rollout:
        _show_details(client, rows[0])


def _lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the table, and below it whose rollout file is of no use; in red where a run is under way."""
    head, *lines = table([_HEAD, *map(_row, rows)]).splitlines()
    unfiled = [_marked(row, _unfiled(row)) for row in rows if row["file_problems"]]
    return [head, *map(_marked, rows, lines), *unfiled]


def _marked(row: dict[str, Any], found: str) -> str:
    runs = row["state"] in ("ROLLING_OUT", "ENABLED")
    return click.style(found, fg="red") if row["file_problems"] and runs else found


def _unfiled(row: dict[str, Any]) -> str:
    share = "an unknown share" if row["percent"] is None else f"{row['percent']:g} %"
    why = printable("; ".join(row["file_problems"]))
    return f"{row['rollout']}: run {row['run']}, {row['position']}, {share}: {why}"


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    since = render(round(max(0.0, time.time() - row["entered_at"]))) if row["run"] else "-"
    firing = [guard["guard"] for guard in row["guards"] if guard["firing"]]
    pending = sum(not target["applied"] for target in row["targets"])
    return (
        row["rollout"],
        row["state"] + (" (observed)" if row["mode"] == "observe" else ""),
        row["stage"] or "-",
        "?" if row["percent"] is None else f"{row['percent']:g}",
        str(row["run"]),
        since,
        _some(_held_by(row), "; "),
        _left(row),
        _some(firing),
        f"{pending} pending" if pending else "applied" if row["targets"] else "-",
    )


def _some(found: Sequence[str], separator: str = ", ") -> str:
    """Return the first few of them, and how many there are besides."""
    more = [f"+{len(found) - _MOST_NAMES} more"] if len(found) > _MOST_NAMES else []
    return separator.join([*found[:_MOST_NAMES], *more]) or "-"


def _held_by(row: dict[str, Any]) -> list[str]:
    held = [f"paused by {row['paused_by']}"] if row["paused_by"] else []
    held += row["held_by"]
    if not row["acknowledged"]:
        held.append("not acknowledged")
    if row["overdue"]:
        held.append("overdue")
    return [printable(item) for item in held]


def _left(row: dict[str, Any]) -> str:
    kinds = (("hold", row["hold_left_seconds"]), ("cooldown", row["cooldown_left_seconds"]))
    return ", ".join(f"{kind} {render(math.ceil(left))}" for kind, left in kinds if left > 0) or "-"


def _show_details(client: Client, row: dict[str, Any]) -> None:
    if row["entry"]:
        since = client.get("history", rollout=row["rollout"], after=row["entry"] - 1)
        click.echo("\n" + "\n".join(map(text, since)))
    click.echo(f"next: {printable(row['next'])}")
    for reason in row["waits_for"]:
        click.echo(f"waits for {printable(reason)}")
    guards = [("GUARD", "ACTION", "FIRING", "CONDITION", "ARMED FOR")]
    guards += [
        (
            guard["guard"],
            guard["action"],
            "yes" if guard["firing"] else "no",
            _condition(guard),
            _share(guard["armed_share"]),
        )
        for guard in row["guards"]
    ]
    click.echo(f"\n{table(guards)}")
    for guard in row["guards"]:
        if guard["description"]:
            click.echo(f"{guard['guard']}: {printable(guard['description'])}")
    if row["criteria"]:
        criteria = [("CRITERION", "HOLDS", "VALUE", "QUERY")]
        criteria += [_criterion(criterion) for criterion in row["criteria"]]
        click.echo(f"\n{table(criteria)}")
    targets = [("TARGET", "DESIRED", "OBSERVED")]
    targets += [
        (
            target["target"],
            target["desired"],
            target["error"] or ("the same" if target["applied"] else "pending"),
        )
        for target in row["targets"]
    ]
    click.echo(f"\n{table(targets)}")


def _condition(guard: dict[str, Any]) -> str:
    if not guard["armed"]:
        return "not in this stage"
    if guard["condition"] is None:
        return "not looked at"
    return f"{guard['condition']}: {printable(guard['why'])}" if guard["why"] else str(guard["condition"])


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%} of the stage"


def _criterion(criterion: dict[str, Any]) -> tuple[str, str, str, str]:
    value = "no data" if criterion["value"] is None else f"{criterion['value']:g}"
    holds = "yes" if criterion["holds"] else "no"
    return criterion["name"], holds, printable(criterion["error"]) or value, criterion["query"]
