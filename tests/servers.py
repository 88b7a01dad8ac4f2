"""Redis and PostgreSQL for tests: real servers on free ports of loopback, never the machine's own.

    def test_something(redis_url: str) -> None: ...         # shared by the whole run, emptied for each test
    def test_something(postgres_url: str) -> None: ...      # shared; a fresh database for each test
    def test_something(redis_server: RedisServer) -> None:  # the test's own: `kill`, `stop`, `start` it again
    def test_something(postgres_server: PostgresServer) -> None: ...  # and `freeze`, `thaw`

The fixtures are in tests/conftest.py. Where the programs are missing (`make test` fetches them), CI fails and
a person's run skips. URLs are as SQLAlchemy and redis-py take them; data outlives `kill` and `start`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

import psycopg
import redis

from rollguard.cli.local.processes import die_with_parent, free_port

_UNPACKED = Path(__file__).parents[1] / ".tools" / "databases" / "bin"
_START_SECONDS = 30
_NOBODY = 65534
_INITDB = ("-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions")


class MissingServerError(Exception):
    """The machine has no such program."""


def program(name: str) -> str:
    """Return the path of a program: the one that `make test` found, else that of the PATH."""
    found = shutil.which(name, path=str(_UNPACKED)) or shutil.which(name)
    if found is None:
        raise MissingServerError(f"{name} is missing; `make databases` fetches it")
    return found


class _Server(ABC):
    """A process that may be ended and started again over the same data."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> Sequence[str]:
        """Return what starts it."""

    @abstractmethod
    def answers(self) -> bool:
        """Return whether it can be used."""

    def start(self) -> None:
        """Start it and wait until it can be used."""
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                preexec_fn=partial(die_with_parent, os.getpid()),  # noqa: PLW1509 - no threads run yet
                **as_nobody(),
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self.answers():
            log_text = (self.folder / "server.log").read_text(errors="replace")[-2000:]
            assert self._process.poll() is None, f"it ended:\n{log_text}"
            assert time.monotonic() < deadline, f"it does not answer:\n{log_text}"
            time.sleep(0.02)

    def kill(self) -> None:
        """End it as a power cut does."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in order, its connections too."""
        self._end(signal.SIGINT)

    def freeze(self) -> None:
        """Keep it from doing anything, while its connections stay."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        """Signal it and the processes that it started."""
        assert self._process is not None
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
        for one in (pid, *map(int, children)):
            with suppress(ProcessLookupError):
                os.kill(one, number)

    def _end(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            self.thaw()
            self._process.send_signal(number)
            self._process.wait(_START_SECONDS)


class RedisServer(_Server):
    """A Redis whose data is on disk before it answers."""

    @property
    def url(self) -> str:
        """Where it is, such as redis://127.0.0.1:6379/0."""
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self) -> redis.Redis:
        """Return a client; what it reads are bytes."""
        return redis.Redis.from_url(self.url)

    def command(self) -> Sequence[str]:
        """Return what starts it."""
        options = ("--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--appendfsync", "always")
        return [program("redis-server"), "--port", str(self.port), "--dir", str(self.folder), *options]

    def answers(self) -> bool:
        """Return whether it can be used."""
        with suppress(redis.RedisError), self.client() as client:
            return bool(client.ping())
        return False


class PostgresServer(_Server):
    """A PostgreSQL with one database and, as Prometheus would have it, a user without a password."""

    def url(self, database: str = "test") -> str:
        """Return where a database is, for SQLAlchemy."""
        return f"postgresql+psycopg://test@127.0.0.1:{self.port}/{database}"

    def connect(self, database: str = "test") -> psycopg.Connection[tuple[object, ...]]:
        """Return a connection that commits at once."""
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user="test", dbname=database, autocommit=True, connect_timeout=5
        )

    def create(self, database: str) -> str:
        """Make an empty database and return its URL."""
        with self.connect() as connection:
            connection.execute(f'CREATE DATABASE "{database}" TEMPLATE template0')
        return self.url(database)

    def command(self) -> Sequence[str]:
        """Return what starts it."""
        options = (
            "fsync=off",
            "unix_socket_directories=",
            "listen_addresses=127.0.0.1",
            "shared_buffers=16MB",
        )
        settings = [part for option in options for part in ("-c", option)]
        return [program("postgres"), "-D", str(self.folder / "data"), "-p", str(self.port), *settings]

    def answers(self) -> bool:
        """Return whether it can be used."""
        with (
            suppress(psycopg.Error),
            psycopg.connect(
                host="127.0.0.1",
                port=self.port,
                user="test",
                dbname="postgres",
                autocommit=True,
                connect_timeout=5,
            ) as connection,
        ):
            if connection.execute("SELECT 1 FROM pg_database WHERE datname = 'test'").fetchone() is None:
                connection.execute("CREATE DATABASE test TEMPLATE template0")
            return True
        return False


@contextmanager
def running_redis() -> Iterator[RedisServer]:
    """Run a Redis in a folder of its own."""
    with _folder() as folder:
        server = RedisServer(folder)
        server.start()
        try:
            yield server
        finally:
            server.kill()


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """Run a PostgreSQL in a folder of its own."""
    with _folder() as folder:
        server = PostgresServer(folder)
        subprocess.run(
            [program("initdb"), "-D", str(folder / "data"), "-U", "test", "-A", "trust", *_INITDB],
            check=True,
            capture_output=True,
            cwd=folder,
            **as_nobody(),
        )
        server.start()
        try:
            yield server
        finally:
            server.stop()


@cache
def as_nobody() -> dict[str, Any]:
    """Return how a child gives up root: PostgreSQL refuses to run as root."""
    return {"user": _NOBODY, "group": _NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder that nobody may use; pytest's own are root's alone."""
    with tempfile.TemporaryDirectory(prefix="rollguard-test-") as name:
        if os.geteuid() == 0:
            os.chown(name, _NOBODY, _NOBODY)
        yield Path(name)
