"""What every kind of test shares."""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import settings

from rollguard.generators.tools import binaries
from tests.servers import MissingServerError, PostgresServer, RedisServer, running_postgres, running_redis

Server = TypeVar("Server")

settings.register_profile("rollguard", deadline=None, max_examples=50)  # a busy machine breaks nothing
settings.load_profile("rollguard")


@pytest.fixture(scope="session")
def need_binary() -> Callable[[binaries.Binary], str]:
    """Return a function that finds a program; where it is missing, CI fails and a person's run skips."""

    def need(binary: binaries.Binary) -> str:
        try:
            return binaries.find(binary)
        except binaries.BinaryError as error:
            if os.environ.get("CI"):
                pytest.fail(str(error))
            pytest.skip(f"needs {binary.name}: {error}")

    return need


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of a mebibyte, which is soon full."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode and os.environ.get("CI") and os.geteuid() == 0:
        pytest.fail(f"cannot mount a small disk: {result.stderr}")
    if result.returncode:
        pytest.skip(f"mount: {result.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _running(server: AbstractContextManager[Server]) -> Iterator[Server]:
    try:
        found = server.__enter__()
    except MissingServerError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))
    try:
        yield found
    finally:
        server.__exit__(None, None, None)


@pytest.fixture(scope="session")
def shared_redis() -> Iterator[RedisServer]:
    yield from _running(running_redis())


@pytest.fixture
def redis_url(shared_redis: RedisServer) -> str:
    """The URL of an empty Redis."""
    with shared_redis.client() as client:
        client.flushall()
    return shared_redis.url


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """A Redis of the test's own, to be ended and started."""
    yield from _running(running_redis())


@pytest.fixture(scope="session")
def shared_postgres() -> Iterator[PostgresServer]:
    yield from _running(running_postgres())


_numbers = itertools.count(1)


@pytest.fixture
def postgres_url(shared_postgres: PostgresServer) -> str:
    """The URL of an empty database of PostgreSQL."""
    return shared_postgres.create(f"test-{next(_numbers)}")


@pytest.fixture
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL of the test's own, to be ended, started, frozen and thawed."""
    yield from _running(running_postgres())
