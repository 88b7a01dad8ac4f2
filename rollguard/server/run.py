"""`rollguard serve`: the parts of the control plane, put together and run as one process."""

from __future__ import annotations

import logging
import resource
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile

import uvicorn

from rollguard.control.decisions import Clock, Listener
from rollguard.control.plane import ControlPlane
from rollguard.errors import FileProblemsError, Problem, RollguardError
from rollguard.ledger import Ledger, LedgerError
from rollguard.monitoring.prometheus import Prometheus
from rollguard.server.app import Server
from rollguard.server.http_protocol import Connection
from rollguard.server.metrics import Metrics
from rollguard.server.ofrep import Streams
from rollguard.spec.rollout import Rollout
from rollguard.state import Entry, State
from rollguard.targets import build
from rollguard.targets.applier import Applier
from rollguard.targets.memory import Memory
from rollguard.targets.pool import TargetPool
from rollguard.tokens import Role, TokenError, TokenFile, Tokens, read_tokens
from rollguard.workers.announcements import Announcements
from rollguard.workers.ledger_probe import PROBE_SECONDS, LedgerProbe
from rollguard.workers.periodic import Periodic
from rollguard.workers.preflight import Preflights
from rollguard.workers.reconciler import POLL_SECONDS, Reconciler
from rollguard.workers.watcher import WATCH_SECONDS, Watcher

log = logging.getLogger(__name__)

SWITCH_SECONDS = 0.001
"""How long a thread computes before another may; a decision wakes many times within its commit."""

OPEN_FILES = 4096
"""Of connections, files and databases at once, where the system allows it."""

FOLLOW_SECONDS = 0.2
"""How soon flags and targets follow another control plane on the same ledger."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How the control plane runs.

    Args:
        rollouts: loaded rollouts.
        problems: mistakes in the files of others.
        broken: the same in words, by name of rollout; their runs go on by what the ledger noted.
        state: URL of the ledger's database.
        token_files: hold the bearer tokens, each file those of a role; None for every role.
        listen: host:port.
        alertmanagers: base URLs, to reconcile with and to tell people by; none: notifications alone count.
        prometheus: base URL, to see whether guards watch; None: nothing advances by itself.
        root: folder that the targets' relative paths start from.
        memory: folder where targets keep what they must remember.
        scale: what cooldowns and holds are divided by.
        poll_seconds: between two polls of Alertmanager.
        watch_seconds: between two looks at Prometheus.
        origins: web origins whose pages may ask for flags.
        proxies: networks whose `X-Forwarded-For` is believed.
        url: how people reach it; stands in the notices that they get. Empty for none.
        tls: files of the certificate and its key, for HTTPS; None for HTTP.
    """

    rollouts: Sequence[Rollout]
    state: str
    token_files: Sequence[tuple[Role | None, Path]]
    listen: str = "127.0.0.1:9840"
    alertmanagers: Sequence[str] = ()
    prometheus: str | None = None
    root: Path = Path()
    memory: Path = Path(".rollguard/targets")
    problems: Sequence[Problem] = ()
    broken: Mapping[str, Sequence[str]] = field(default_factory=dict)
    scale: float = 1.0
    poll_seconds: float = POLL_SECONDS
    watch_seconds: float = WATCH_SECONDS
    origins: Sequence[str] = ()
    proxies: Sequence[str] = ()
    url: str = ""
    tls: tuple[Path, Path] | None = None


class _Waker(Listener):
    """Wakes what follows a rollout's state, such as its targets, as soon as its transition is committed."""

    def __init__(self, wake: Callable[[str], None]) -> None:
        self._wake = wake

    def decided(self, entries: Sequence[Entry], _received_at: float | None) -> None:
        for entry in entries:
            self._wake(entry.rollout)


def _applier(control: ControlPlane, options: Options) -> Applier:
    """Return what writes the targets of the rollouts."""
    targets = {
        name: build(rollout, options.root, options.memory, control.rollouts, control.shown)
        for name, rollout in control.rollouts.items()
    }
    return Applier(
        control.rollouts.values(),
        targets,
        control.shown,
        clock=control.clock.wall,
        monotonic=control.clock.monotonic,
        settle=2 * FOLLOW_SECONDS if control.ledger.shared else 0.0,
    )


@contextmanager
def running(options: Options) -> Iterator[Server]:
    """Yield what answers requests while its threads run.

    Raises:
        LedgerError, LockError, MemoryFolderError, TokenError: before anything was started.
        FileProblemsError: no rollout file is sound, and the ledger knows of no run.
    """
    tokens = _tokens(options.token_files)
    _check_memory(options.memory)
    with closing(Ledger.open(options.state)) as ledger, ledger.sole():
        clock = Clock()
        control = ControlPlane(
            options.rollouts, ledger, scale=options.scale, clock=clock, problems=options.broken
        )
        if not control.rollouts:
            raise FileProblemsError(options.problems)
        _tell_files(control, options.problems)
        control.note_definitions()
        applier = _applier(control, options)
        asked = Prometheus(options.prometheus) if options.prometheus else None
        control.preflight = Preflights(options.root, options.memory, asked).run
        probe = LedgerProbe(ledger, clock)
        metrics = Metrics(control, applier.statuses, probe)
        applier.on_applied = metrics.applied
        pool = TargetPool(applier)
        control.listen(metrics)  # before the targets: it must know when the notification came
        control.listen(_Waker(pool.wake))
        pool.start()
        try:
            with (
                _probing(probe),
                _following(control),
                _telling(control, metrics, options),
                _watching(control, metrics, options),
                _reconciling(control, metrics, options) as reconciler,
            ):
                wake = reconciler.wake if reconciler else lambda: None
                yield Server(
                    control,
                    applier,
                    metrics,
                    probe,
                    tokens,
                    wake=wake,
                    origins=options.origins,
                    proxies=options.proxies,
                )
        finally:
            pool.stop()
            if asked:
                asked.close()


def _tell_files(control: ControlPlane, problems: Sequence[Problem]) -> None:
    for problem in sorted(problems):
        log.error("%s", problem)
    for name, why in control.file_problems.items():
        state = control.shown().get(name, State(name))
        if state.running:
            log.error("%s: run %d goes on in %s: %s", name, state.run, state.position, why[0])
        elif name not in control.rollouts:
            log.error("%s is not served: %s", name, why[0])


class MemoryFolderError(RollguardError):
    """Nothing can be remembered in the folder that is meant for it."""


def _check_memory(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise MemoryFolderError(
            f"{folder} cannot be written: {error.strerror or error}.\n  Name another folder by --memory."
        ) from error


def _tokens(files: Sequence[tuple[Role | None, Path]]) -> Tokens:
    for _, path in files:
        try:
            read_tokens(path)
        except TokenError as error:
            hint = f"Make one: (umask 077 && openssl rand -hex 32 > {path})"
            raise TokenError(f"{error}\n  {hint}") from error
    return Tokens([TokenFile(path, role) for role, path in files])


@contextmanager
def _reconciling(control: ControlPlane, metrics: Metrics, options: Options) -> Iterator[Reconciler | None]:
    if not options.alertmanagers:
        yield None
        return
    reconciler = Reconciler(
        control,
        options.alertmanagers,
        prometheus=options.prometheus,
        memory=Memory(options.memory, "reconciled"),
        every=options.poll_seconds,
        on_poll=metrics.polled,
    )
    control.confirm = reconciler.poll
    reconciler.start()
    try:
        yield reconciler
    finally:
        reconciler.stop()


@contextmanager
def _telling(control: ControlPlane, metrics: Metrics, options: Options) -> Iterator[None]:
    if not options.alertmanagers:
        yield
        return
    memory = Memory(options.memory, "notices")
    notices = Announcements(
        control, options.alertmanagers, memory, link=options.url, scale=options.scale, on_post=metrics.posted
    )
    control.listen(notices)
    notices.start()
    try:
        yield
    finally:
        notices.stop()


@contextmanager
def _following(control: ControlPlane) -> Iterator[None]:
    """Show soon what another control plane decides, where there may be one."""
    if not control.ledger.shared:
        yield
        return
    follower = Periodic("following the ledger", FOLLOW_SECONDS, partial(_follow, control))
    follower.start()
    try:
        yield
    finally:
        follower.stop()


@contextmanager
def _probing(probe: LedgerProbe) -> Iterator[None]:
    turns = Periodic("probing the ledger", PROBE_SECONDS, probe.ask)
    turns.start()
    try:
        yield
    finally:
        turns.stop()


def _follow(control: ControlPlane) -> None:
    with suppress(LedgerError):  # it shows as not ready, and the next turn comes soon
        control.follow()


@contextmanager
def _watching(control: ControlPlane, metrics: Metrics, options: Options) -> Iterator[None]:
    if options.prometheus is None:
        yield
        return
    watcher = Watcher(
        control,
        Prometheus(options.prometheus),
        scale=options.scale,
        every=options.watch_seconds,
        on_turn=metrics.watched,
    )
    control.listen(_Waker(lambda _: watcher.wake()))
    watcher.start()
    try:
        yield
    finally:
        watcher.stop()


class ListenError(RollguardError):
    """The address cannot be listened on."""


class TlsError(RollguardError):
    """The certificate or its key cannot be used."""


def serve(options: Options) -> None:
    """Run the control plane until SIGTERM or SIGINT.

    Raises:
        ListenError, TlsError, and what `running` raises: before anything was started.
    """
    certificate, key = _tls(options.tls)
    sys.setswitchinterval(SWITCH_SECONDS)
    _allow_open_files()
    with _socket(options.listen) as listening, running(options) as server:
        config = uvicorn.Config(
            server.app(),
            http=partial(Connection, room=server.room),  # type: ignore[arg-type]
            log_config=None,  # as everything else is logged
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_keep_alive=65,
            timeout_graceful_shutdown=5,
            proxy_headers=bool(options.proxies),
            forwarded_allow_ips=list(options.proxies),
            ssl_certfile=certificate,
            ssl_keyfile=key,
        )
        log.info("listening on %s://%s", "https" if certificate else "http", options.listen)
        # uvicorn ends on these, and then raises them again: ending as asked is no failure.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        _Uvicorn(config, server.streams).run(sockets=[listening])


def _allow_open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _tls(files: tuple[Path, Path] | None) -> tuple[Path | None, Path | None]:
    """Return the files of certificate and key, tried; Python's defaults ask for TLS 1.2 or newer.

    Raises:
        TlsError: the files cannot be used.
    """
    if files is None:
        return None, None
    certificate, key = files
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key, lambda: "")
    except (OSError, ssl.SSLError) as error:
        raise TlsError(f"{certificate} with the key {key} cannot be used for TLS: {error}.") from error
    return files


class _Uvicorn(uvicorn.Server):
    """Ends the event streams when it stops; it would wait for them."""

    def __init__(self, config: uvicorn.Config, streams: Streams) -> None:
        super().__init__(config)
        self._streams = streams

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop as uvicorn does."""
        self._streams.close()
        await super().shutdown(sockets)


def _socket(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ListenError(f"cannot listen on {address}: expected host:port, such as 127.0.0.1:9840.")
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host.strip("[]"), int(port)), family=family)
        # asyncio does it only for sockets of its own making; without it every answer waits 40 ms for an ACK.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except OSError as error:
        raise ListenError(f"cannot listen on {address}: {error.strerror or error}.") from error
