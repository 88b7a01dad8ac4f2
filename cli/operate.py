"""Commands on a running control plane: the steps of a rollout, history, verify."""

from __future__ import annotations

import getpass
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rollguard.cli.options import UrlType, examples, json_option, print_json, token_option
from rollguard.conventions import CONTROL_PLANE_PORT, FALLBACK
from rollguard.errors import without_login
from rollguard.state import MOVES

if TYPE_CHECKING:
    from rollguard.client import Client

server_option = click.option(
    "--server",
    type=UrlType(),
    envvar="ROLLGUARD_SERVER",
    show_envvar=True,
    default=f"http://127.0.0.1:{CONTROL_PLANE_PORT}",
    show_default=True,
    help="Base URL of the control plane.",
)
ca_option = click.option(
    "--ca-file",
    type=click.Path(path_type=Path),
    envvar="ROLLGUARD_CA_FILE",
    show_envvar=True,
    help="Certificates that vouch for an HTTPS control plane. Default: the system's.",
)
actor_option = click.option("--actor", default=None, help="Who decides; default: your user name.")
unguarded_option = click.option(
    "--unguarded",
    is_flag=True,
    help="Although Prometheus does not show that the guards are loaded, evaluated and silent.",
)
origin_option = click.option(
    "--from",
    "origin",
    default=None,
    metavar="STAGE",
    help="Where you believe it to be: refused if it is elsewhere. Default: where it is now.",
)
reason_option = click.option("--reason", default="", help="Why; kept in the ledger.")
state_option = click.option(
    "--state", default=None, help="URL of a ledger to read, in place of asking the control plane."
)

PREFLIGHT_SECONDS = 3600.0
"""How long a command waits for a preflight, each of whose commands has a limit of its own."""

TARGET_SECONDS = 1.0
"""How long a command waits for the targets to follow, before it says that one has not."""

ALERTS_UNKNOWN = "note: Alertmanager has not answered of late, so nobody knows what fires"


@contextmanager
def _client(server: str, token_file: Path, ca_file: Path | None) -> Iterator[Client]:
    """Yield a client; a refusal is a finding, not a failure."""
    from rollguard.client import Client, RefusedByServerError

    try:
        with Client(server, token_file, ca_file) as client:
            yield client
    except RefusedByServerError as error:
        click.echo(f"refused: {error}", err=True)
        raise click.exceptions.Exit(1) from error


def connected(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the client in place of its options."""

    @server_option
    @token_option
    @ca_option
    @wraps(command)
    def wrapped(server: str, token_file: Path, ca_file: Path | None, **arguments: Any) -> None:
        with _client(server, token_file, ca_file) as client:
            command(client, **arguments)

    return wrapped


def user() -> str:
    """Return who runs the command, for the ledger."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run as a number without a name
        return f"uid {os.getuid()}"


def _act(
    client: Client, verb: str, rollout: str, actor: str | None, reason: str, as_json: bool, **more: Any
) -> None:
    asked = {"actor": actor or user(), "reason": reason, **more}
    patience = {"timeout": PREFLIGHT_SECONDS} if verb == "start" else {}
    entry = client.post(f"rollouts/{rollout}/{verb}", asked, **patience)
    if as_json:
        print_json(entry)
        return
    click.echo(line(entry))
    if entry["undo"]:
        click.echo(f"undo: {entry['undo']}")
    for what in entry["evidence"].get("skipped", ()):
        click.echo(f"note: skipped {printable(what)}", err=True)
    for found in entry["evidence"].get("unguarded", ()):
        click.echo(f"note: {found}", err=True)
    if entry["evidence"].get("alerts_unknown"):
        click.echo(ALERTS_UNKNOWN, err=True)
    if unwritten := entry["evidence"].get("unwritten"):
        click.echo(f"note: {unwritten}", err=True)
    for target in _late_targets(client, rollout):
        why = f": {target['error']}" if target["error"] else ""
        click.echo(f"note: {target['target']} has not followed yet{why}", err=True)


def _late_targets(client: Client, rollout: str) -> list[dict[str, Any]]:
    """Return the targets that have not followed after a while."""
    deadline = time.monotonic() + TARGET_SECONDS
    while True:
        targets = client.get(f"rollouts/{rollout}")["targets"]
        late = [target for target in targets if not target["applied"]]
        if not late or time.monotonic() > deadline:
            return late
        time.sleep(0.05)


@click.command(epilog=examples("rollguard start model-canary --reason 'release 42'"))
@click.argument("rollout")
@actor_option
@reason_option
@unguarded_option
@click.option("--dry-run", is_flag=True, help="Try what it would be refused upon, and start nothing.")
@json_option
@connected
def start(
    client: Client,
    rollout: str,
    actor: str | None,
    reason: str,
    unguarded: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Begin the next run of ROLLOUT, in its first stage.

    Its preflight must pass before.
    """
    more = {"unguarded": True} if unguarded else {}
    if not dry_run:
        _act(client, "start", rollout, actor, reason, as_json, **more)
        return
    asked = {"actor": actor or user(), "reason": reason, **more}
    found = client.post(f"rollouts/{rollout}/dry_start", asked, PREFLIGHT_SECONDS)
    if as_json:
        print_json(found)
        return
    for item in found["evidence"].get("preflight", ()):
        click.echo(f"passed: {printable(item['name'])}")
    for problem in found["evidence"].get("unguarded", ()):
        click.echo(f"note: {problem}", err=True)
    click.echo(f"{rollout}: run {found['run']} would start in {found['to_stage']}")


@click.command(epilog=examples("rollguard approve model-canary --reason 'shadow scores agree'"))
@click.argument("rollout")
@actor_option
@reason_option
@origin_option
@json_option
@connected
def approve(
    client: Client, rollout: str, actor: str | None, reason: str, origin: str | None, as_json: bool
) -> None:
    """Let the next stage of ROLLOUT begin by itself, as soon as everything else is met."""
    _act(client, "approve", rollout, actor, reason, as_json, **_from(client, rollout, origin))


@click.command(
    epilog=examples(
        "rollguard promote model-canary --from canary",
        "rollguard promote model-canary --from canary --early --reason 'a fix that cannot wait'",
    )
)
@click.argument("rollout")
@actor_option
@reason_option
@origin_option
@click.option(
    "--early",
    is_flag=True,
    help="Although its hold, criteria, data or approval are unmet; the ledger keeps which.",
)
@unguarded_option
@json_option
@connected
def promote(
    client: Client,
    rollout: str,
    actor: str | None,
    reason: str,
    origin: str | None,
    early: bool,
    unguarded: bool,
    as_json: bool,
) -> None:
    """Take ROLLOUT to its next stage, once this one is over; after the last, it is enabled for good."""
    options = {"early": True} if early else {}
    options |= {"unguarded": True} if unguarded else {}
    _act(client, "promote", rollout, actor, reason, as_json, **options, **_from(client, rollout, origin))


def _from(client: Client, rollout: str, origin: str | None) -> dict[str, str]:
    """Return the stage that a step is meant for: said twice, it must not be two steps."""
    return {"from": origin or client.get(f"rollouts/{rollout}")["position"]}


@click.command(
    epilog=examples(
        "rollguard rollback model-canary --reason 'customers complain'",
        "rollguard rollback model-canary --to previous --reason 'too many at once'",
    )
)
@click.argument("rollout")
@actor_option
@click.option("--reason", required=True, help="Why; kept in the ledger.")
@click.option(
    "--to",
    default=FALLBACK,
    show_default=True,
    metavar="STAGE",
    help="fallback ends the run; previous, or an earlier stage's name, goes back to that stage.",
)
@json_option
@connected
def rollback(client: Client, rollout: str, actor: str | None, reason: str, to: str, as_json: bool) -> None:
    """Take ROLLOUT back now, by hand, and with it the rollouts that require it."""
    _act(client, "rollback", rollout, actor, reason, as_json, to=to)


@click.command(epilog=examples("rollguard pause model-canary --reason 'the exchange has a test session'"))
@click.argument("rollout")
@actor_option
@click.option("--reason", required=True, help="Why; kept in the ledger.")
@json_option
@connected
def pause(client: Client, rollout: str, actor: str | None, reason: str, as_json: bool) -> None:
    """Leave ROLLOUT where it is: until it is resumed, no guard rolls it back. `rollback` still does."""
    _act(client, "pause", rollout, actor, reason, as_json)


@click.command(epilog=examples("rollguard resume model-canary"))
@click.argument("rollout")
@actor_option
@reason_option
@json_option
@connected
def resume(client: Client, rollout: str, actor: str | None, reason: str, as_json: bool) -> None:
    """End the pause of ROLLOUT. What fires counts at once."""
    _act(client, "resume", rollout, actor, reason, as_json)


@click.command(epilog=examples("rollguard acknowledge model-canary --reason 'INC-17: a column was swapped'"))
@click.argument("rollout")
@actor_option
@click.option("--reason", required=True, help="What was found; kept in the ledger.")
@json_option
@connected
def acknowledge(client: Client, rollout: str, actor: str | None, reason: str, as_json: bool) -> None:
    """Say that you have looked at why ROLLOUT went back: the next start or promotion needs it."""
    _act(client, "acknowledge", rollout, actor, reason, as_json)


@click.command(
    epilog=examples(
        "rollguard history",
        "rollguard history model-canary --json | jq .guard",
        "rollguard history --state sqlite:///.rollguard/ledger.db",
    )
)
@click.argument("rollout", required=False)
@click.option("--after", type=click.IntRange(min=0), default=0, help="Only entries after this number.")
@state_option
@json_option
@server_option
@token_option
@ca_option
def history(
    rollout: str | None,
    after: int,
    state: str | None,
    as_json: bool,
    server: str,
    token_file: Path,
    ca_file: Path | None,
) -> None:
    """Show the ledger: what was decided, when, by whom and why. With --json one object a line."""
    if state:
        _echo(_entries_of(state, rollout, after), as_json)
        return
    with _client(server, token_file, ca_file) as client:
        _echo(client.history(rollout, after), as_json)


def _echo(entries: Iterable[dict[str, Any]], as_json: bool) -> None:
    for entry in entries:
        click.echo(json.dumps(entry, ensure_ascii=False) if as_json else text(entry))


def _entries_of(url: str, rollout: str | None, after: int) -> list[dict[str, Any]]:
    from rollguard.ledger import Ledger

    with closing(Ledger.open(url, read_only=True)) as ledger:
        if rollout and rollout not in ledger.states():
            click.echo(f"{rollout} has no entry in {without_login(url)}.", err=True)
            raise click.exceptions.Exit(1)
        return [asdict(entry) for entry in ledger.entries(rollout, after)]


@click.command(epilog=examples("rollguard verify", "rollguard verify --state sqlite:///.rollguard/ledger.db"))
@state_option
@click.option("--head", default=None, metavar="SEQ:HASH", help="A head kept earlier: finds a lost tail.")
@click.option(
    "--archive",
    "archived",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    multiple=True,
    help="File with archived entries, to begin with the first; may be given several times. With --state."
    " They are folded again, and compared with the states that are kept.",
)
@json_option
@server_option
@token_option
@ca_option
def verify(
    state: str | None,
    head: str | None,
    archived: tuple[Path, ...],
    as_json: bool,
    server: str,
    token_file: Path,
    ca_file: Path | None,
) -> None:
    """Walk the ledger's hash chain, and name the first entry that was changed or lost."""
    expected = _head(head)
    if archived and not state:
        raise click.UsageError("--archive needs --state: archives are read where they are.")
    if state:
        from rollguard.ledger import Ledger

        with closing(Ledger.open(state, read_only=True)) as ledger:
            faults = [str(fault) for fault in ledger.verify(expected, sorted(archived))]
            seq, digest = ledger.newest()
            unproven = ledger.unproven(archived) + ledger.undefined()
        found: dict[str, Any] = {"entries": seq, "head": digest, "faults": faults, "unproven": unproven}
    else:
        with _client(server, token_file, ca_file) as client:
            found = client.get("verify", head=head)
    if as_json:
        print_json(found)
    for fault in () if as_json else found["faults"]:
        click.echo(fault, err=True)
    for note in () if as_json else found["unproven"]:
        click.echo(f"note: {note}", err=True)
    if not as_json:
        verdict = "broken" if found["faults"] else "unbroken"
        click.echo(
            f"{found['entries']} entries, the chain is {verdict}; head {found['entries']}:{found['head']}"
        )
    raise click.exceptions.Exit(1 if found["faults"] else 0)


def _head(text: str | None) -> tuple[int, str] | None:
    if text is None:
        return None
    from rollguard.ledger import parse_head

    found = parse_head(text)
    if found is None:
        raise click.BadParameter(
            f"{text!r}, expected NUMBER:HASH as `verify` prints it.", param_hint="--head"
        )
    return found


def printable(found: str) -> str:
    """Return text without what would move a cursor or fake a line."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in found)


def text(entry: dict[str, Any]) -> str:
    """Return a ledger entry as a line of plain text; below it, indented, what the decision rested on."""
    from rollguard.control.evidence import said

    evidence = said(entry["evidence"])
    return f"{line(entry)}\n      {printable(evidence)}" if evidence else line(entry)


def line(entry: dict[str, Any]) -> str:
    """Return a ledger entry as one line."""
    at = datetime.fromtimestamp(entry["at"], UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    before = entry["from_stage"] or entry["from_status"].lower()
    after = entry["to_stage"] or entry["to_status"].lower()
    where = f"{before} → {after}" if entry["kind"] in (*MOVES, "would_rollback") else f"in {after}"
    who = f"guard {entry['guard']}" if entry["guard"] else printable(entry["actor"])
    why = f": {printable(entry['reason'])}" if entry["reason"] and entry["reason"] != entry["guard"] else ""
    kind = entry["kind"].replace("_", " ")
    what = f"{entry['rollout']}  run {entry['run']}  {kind}  {where}"
    return f"{entry['seq']:>4}  {at}Z  {what}  by {who}{why}"
