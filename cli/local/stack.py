"""The whole stack on loopback, as child processes: exporters, Prometheus, Alertmanager, control plane."""

from __future__ import annotations

import os
import secrets
import shlex
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from rollguard import durations, yamlfile
from rollguard.cli.local import exporters
from rollguard.cli.local.processes import Child, Supervisor, free_port
from rollguard.cli.operate import text
from rollguard.cli.options import TOKEN_FILE
from rollguard.client import Client, ServerError
from rollguard.control.run_definitions import followed
from rollguard.conventions import ALERTMANAGER_PORT, CONTROL_PLANE_PORT, EVIDENCE_PORT, PROMETHEUS_PORT
from rollguard.generators import output
from rollguard.generators.alertmanager.receivers import Routing
from rollguard.generators.rules.timing import Timing
from rollguard.generators.scrape import Addresses
from rollguard.generators.tools import binaries
from rollguard.ledger import Ledger
from rollguard.lock import locked
from rollguard.spec.rollout import Rollout

READY_SECONDS = 60.0
POLL_SECONDS = 2.0
WATCH_SECONDS = 15.0
_RETENTION_SECONDS = 15 * 86400.0
_RETENTION_OF_HOLD = 2.0
"""A hold that is interrupted, or waits for its criteria, is counted over a longer time than it lasts."""


@dataclass(frozen=True)
class Settings:
    """What to run, and where.

    Args:
        rollouts: loaded rollouts.
        folder: for configuration, ledger, token and logs; created where it is missing.
        root: where relative paths of events and targets start.
        scale: what every duration is divided by.
        free_ports: take free ports, of the exporters too, in place of the usual ones.
        routing: who is told beside the control plane; default: nobody.
        noted: runs whose file is of no use, as the ledger noted them: guarded and measured as before.
    """

    rollouts: Sequence[Rollout]
    folder: Path
    root: Path = Path()
    scale: float = 1.0
    free_ports: bool = False
    routing: Routing | None = None
    noted: Sequence[Rollout] = ()


def noted_runs(folder: Path, sound: Sequence[Rollout], broken: Mapping[str, Sequence[str]]) -> list[Rollout]:
    """Return the runs that go on by what the ledger noted of them, as their file is of no use.

    Args:
        folder: with the ledger, where there is one yet.
        sound: rollouts whose files are sound.
        broken: what is wrong with the other files, by the name of the rollout.
    Raises:
        LedgerError: the ledger cannot be read.
    """
    path = folder / "ledger.db"
    if not path.exists():
        return []
    with closing(Ledger.open(f"sqlite:///{path}", read_only=True)) as ledger:
        found = followed(sound, broken, ledger.states())
    noted = found.problems.keys() & found.rollouts.keys() - found.undefined
    return [found.rollouts[name] for name in sorted(noted)]


def retention(rollouts: Iterable[Rollout]) -> float:
    """Return how long Prometheus must keep its samples: a hold is counted in them, seconds."""
    longest = max((stage.hold for rollout in rollouts for stage in rollout.stages), default=0.0)
    return max(_RETENTION_SECONDS, _RETENTION_OF_HOLD * longest)


class Stack:
    """The processes, and how to reach them."""

    def __init__(self, settings: Settings) -> None:
        self.folder = settings.folder.resolve()
        self.root = settings.root.resolve()
        self.scale = settings.scale
        self.routing = settings.routing
        self.token_file = self.folder / "token"
        self.rollouts = list(
            _with_free_ports(settings.rollouts) if settings.free_ports else settings.rollouts
        )
        self.guarded = list({one.name: one for one in (*self.rollouts, *settings.noted)}.values())
        ports = (PROMETHEUS_PORT, ALERTMANAGER_PORT, CONTROL_PLANE_PORT, EVIDENCE_PORT)
        prometheus, alertmanager, plane, evidence = (
            f"127.0.0.1:{free_port() if settings.free_ports else port}" for port in ports
        )
        self.addresses = Addresses(prometheus, alertmanager, plane, str(self.token_file), evidence)
        self.notes: list[str] = []
        self.control_plane = self._control_plane()
        self.prometheus = self._prometheus()
        self.alertmanager = self._alertmanager()
        self.exporters = list(self._exporters())

    @property
    def children(self) -> list[Child]:
        """Every process, in the order of their start."""
        return [*self.exporters, self.control_plane, self.alertmanager, self.prometheus]

    def client(self) -> Client:
        """Return a client of the control plane."""
        return Client(f"http://{self.addresses.control_plane}", self.token_file)

    def prepare(self) -> None:
        """Write the configuration, the rollouts, and a token unless there is one."""
        rules = output.rules(self.guarded, self.scale)
        servers = output.configuration(self.guarded, self.scale, self.addresses, routing=self.routing)
        output.write({**rules, **servers}, self.folder / "config")
        _write(self.rollouts, self.folder / "rollouts")
        _write(self.guarded, self._measured)
        if not self.token_file.exists():
            handle = os.open(self.token_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(secrets.token_hex(32) + "\n")

    @contextmanager
    def running(self) -> Iterator[Stack]:
        """Run everything, ready when this yields, and stop it in reverse order.

        Raises:
            LockError: another stack runs on the folder; nothing was written.
            ProcessError: a process did not start; the others are stopped.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._sole():
            self.prepare()
            try:
                for child in self.children:
                    child.refuse_taken_port()
                    child.start()
                for child in self.children:
                    child.wait_until_ready(READY_SECONDS)
                yield self
            finally:
                for child in reversed(self.children):
                    child.stop()

    def _sole(self) -> AbstractContextManager[None]:
        instead = "give this one a folder of its own by --dir"
        return locked(self.folder / "up.lock", str(self.folder), "`rollguard up`", instead)

    def _control_plane(self) -> Child:
        at = self.addresses
        command = [
            *(*exporters.ROLLGUARD, "serve", "--listen", at.control_plane),
            *(
                "--rollouts",
                str(self.folder / "rollouts"),
                "--state",
                f"sqlite:///{self.folder / 'ledger.db'}",
            ),
            *("--token-file", str(self.token_file), "--alertmanager", f"http://{at.alertmanager}"),
            *("--prometheus", f"http://{at.prometheus}"),
            *("--root", str(self.root), "--memory", str(self.folder / "targets")),
            *("--time-scale", f"{self.scale:g}"),
            *("--poll", Timing(self.scale).text(POLL_SECONDS)),
            *("--watch", Timing(self.scale).text(WATCH_SECONDS)),
        ]
        return Child(
            "control plane", command, self._log("control-plane"), f"http://{at.control_plane}/readyz"
        )

    def _prometheus(self) -> Child:
        at = self.addresses.prometheus
        command = [
            binaries.find(binaries.PROMETHEUS),
            f"--config.file={self.folder / 'config' / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.folder / 'prometheus'}",
            f"--storage.tsdb.retention.time={durations.render(retention(self.guarded))}",
            f"--web.listen-address={at}",
            "--web.enable-lifecycle",
            # At the default of 1 m, a restart of Alertmanager delays a delivery by up to a minute.
            "--rules.alert.resend-delay=1s",
            "--log.level=warn",
        ]
        return Child("prometheus", command, self._log("prometheus"), f"http://{at}/-/ready")

    def _alertmanager(self) -> Child:
        at = self.addresses.alertmanager
        command = [
            binaries.find(binaries.ALERTMANAGER),
            f"--config.file={self.folder / 'config' / 'alertmanager.yml'}",
            f"--storage.path={self.folder / 'alertmanager'}",
            f"--web.listen-address={at}",
            # Alone, it would wait 10 s for peers before the first delivery.
            "--cluster.listen-address=",
            "--log.level=warn",
        ]
        return Child("alertmanager", command, self._log("alertmanager"), f"http://{at}/-/ready")

    def _exporters(self) -> Iterator[Child]:
        """Yield an exporter for each job that has one, whichever rollouts share it."""
        scaled = Timing(self.scale).seconds
        shared: dict[str, list[Rollout]] = {}
        for rollout in self.guarded:
            if rollout.scrape.exporter is not None:
                name = rollout.scrape.job if rollout.scrape.labelled else rollout.name
                shared.setdefault(name, []).append(rollout)
        for name, rollouts in shared.items():
            scrape = rollouts[0].scrape
            assert scrape.exporter is not None
            if unset := exporters.unset_variable(scrape.exporter):
                self.notes.append(f"{name} is not measured: the environment variable {unset} is not set")
                continue
            files = [self._measured / f"{rollout.name}.yaml" for rollout in rollouts]
            command = exporters.command(scrape, self.root, scaled, self.notes.append, files)
            metrics = f"http://{scrape.targets[0]}/metrics"
            yield Child(f"exporter of {name}", command, self._log(f"exporter-{name}"), metrics)

        if any(rollout.by_evidence for rollout in self.guarded):
            yield self._evaluator()

    def _evaluator(self) -> Child:
        at = self.addresses
        command = [
            *(*exporters.ROLLGUARD, "export", "evidence", "--listen", at.evidence),
            *("--rollouts", str(self._measured), "--prometheus", f"http://{at.prometheus}"),
            *("--checkpoint", str(self.folder / "evidence.checkpoint"), "--time-scale", f"{self.scale:g}"),
        ]
        return Child("evidence", command, self._log("evidence"), f"http://{at.evidence}/metrics")

    @property
    def _measured(self) -> Path:
        return self.folder / "measured"

    def _log(self, name: str) -> Path:
        return self.folder / "logs" / f"{name}.log"


def _write(rollouts: Iterable[Rollout], folder: Path) -> None:
    """Write the files of rollouts into a folder, which holds no others then."""
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.yaml"):
        old.unlink()
    for rollout in rollouts:
        content = rollout.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        (folder / f"{rollout.name}.yaml").write_text(yamlfile.dump(content), encoding="utf-8")


def _with_free_ports(rollouts: Sequence[Rollout]) -> Iterator[Rollout]:
    """Yield the rollouts, each exporter at a free port of its own."""
    shared: dict[str, str] = {}
    for rollout in rollouts:
        if rollout.scrape.exporter is None:
            yield rollout
            continue
        target = f"127.0.0.1:{free_port()}"
        if rollout.scrape.labelled:
            target = shared.setdefault(rollout.scrape.job, target)
        scrape = rollout.scrape.model_copy(update={"targets": (target,)})
        yield rollout.model_copy(update={"scrape": scrape})


def run(settings: Settings, say: Callable[[str], None], warn: Callable[[str], None]) -> None:
    """Run the stack until Ctrl-C or SIGTERM, and tell what happens, a line each.

    Args:
        settings: what to run, and where.
        say: told what happens.
        warn: told which process ended by itself, and is started again.
    Raises:
        LockError: another stack runs on the folder.
        ProcessError: a process did not start, or ended before all were ready.
    """
    stack = Stack(settings)
    with _signals_as_interrupt():
        try:
            say(f"starting {len(stack.children)} processes; their logs are in {stack.folder / 'logs'}")
            for note in stack.notes:
                say(f"note: {note}")
            with stack.running(), stack.client() as client:
                known = max((entry["seq"] for entry in client.history()), default=0)
                for line in addresses(stack):
                    say(line)
                _watch([Supervisor(child, warn) for child in stack.children], client, known, say)
        except KeyboardInterrupt:
            say("stopped.")


def addresses(stack: Stack) -> Iterator[str]:
    """Yield what a person needs once it is ready: addresses, the file of the token, the next command."""
    at = stack.addresses
    servers = [
        ("control plane", f"http://{at.control_plane}"),
        ("prometheus", f"http://{at.prometheus}"),
        ("alertmanager", f"http://{at.alertmanager}"),
        *(
            (rollout.name, f"http://{target}/metrics")
            for rollout in stack.guarded
            if rollout.scrape.exporter is None or not exporters.unset_variable(rollout.scrape.exporter)
            for target in rollout.scrape.targets
        ),
    ]
    width = max(len(name) for name, _ in servers)
    for name, url in servers:
        yield f"  {name:<{width}}  {url}"
    yield f"token: {stack.token_file}"
    options = ""
    if not at.control_plane.endswith(f":{CONTROL_PLANE_PORT}"):
        options += f" --server http://{at.control_plane}"
    if stack.token_file != TOKEN_FILE.resolve():
        options += f" --token-file {shlex.quote(str(stack.token_file))}"
    yield f"next: rollguard start {stack.guarded[0].name}{options}; Ctrl-C stops everything"


def _watch(supervisors: Sequence[Supervisor], client: Client, known: int, say: Callable[[str], None]) -> None:
    """Keep the processes running; tell new ledger entries, guards that fire, targets that are behind."""
    firing: set[tuple[str, str]] = set()
    behind: set[tuple[str, str]] = set()
    silent = False
    while True:
        for supervisor in supervisors:
            supervisor.look()
        try:
            for entry in client.history(after=known):
                known = entry["seq"]
                say(text(entry))
            rows = client.get("rollouts")
            firing = _tell_guards(rows, firing, say)
            behind = _tell_targets(rows, behind, say)
            if silent:
                say("the control plane answers again")
            silent = False
        except ServerError as error:
            if not silent:
                say(f"the control plane does not answer: {error}")
            silent = True
        time.sleep(0.5)


def _tell_guards(
    rows: list[dict[str, Any]], before: set[tuple[str, str]], say: Callable[[str], None]
) -> set[tuple[str, str]]:
    now = {(row["rollout"], guard["guard"]) for row in rows for guard in row["guards"] if guard["firing"]}
    for rollout, guard in sorted(now - before):
        say(f"      {rollout}: guard {guard} fires")
    for rollout, guard in sorted(before - now):
        say(f"      {rollout}: guard {guard} is silent again")
    return now


def _tell_targets(
    rows: list[dict[str, Any]], before: set[tuple[str, str]], say: Callable[[str], None]
) -> set[tuple[str, str]]:
    errors = {
        (row["rollout"], target["target"]): target["error"]
        for row in rows
        for target in row["targets"]
        if target["error"]
    }
    for rollout, target in sorted(set(errors) - before):
        say(f"      {rollout}: {target} is behind, and tried again: {errors[rollout, target]}")
    for rollout, target in sorted(before - set(errors)):
        say(f"      {rollout}: {target} follows again")
    return set(errors)


@contextmanager
def _signals_as_interrupt() -> Iterator[None]:
    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {
        number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
