"""`rollguard serve` against callers that are wrong, slow or strangers: calls by its own OpenAPI document."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from rollguard.cli.local.processes import Child, ProcessError
from rollguard.client import Client
from tests.contract.conftest import NAME, TOKEN, Served

READER = "a-reading-token-0123456789"


@pytest.mark.slow  # a minute, most of which it waits
@pytest.mark.parametrize("phases", ["examples,coverage", "fuzzing"])
def test_by_its_own_document_what_is_right_is_answered_and_what_is_wrong_refused(
    served: Served, phases: str
) -> None:
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{served.url}/api/v1/openapi.json"),
        *("--header", f"Authorization: Bearer {TOKEN}", "--phases", phases),
        *("--max-examples", "2", "--seed", "1", "--generation-database", "none", "--warnings", "off"),
        *("--rate-limit", "20/s"),  # some calls lack the token, which may be tried only so often
    ]
    found = subprocess.run(command, cwd=served.folder, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout
    assert "start" in {entry["kind"] for entry in served.history()}


def answered(served: Served, token: str, path: str = "/api/v1/rollouts") -> int:
    """Return the status of a call with a token."""
    return httpx.get(f"{served.url}{path}", headers={"authorization": f"Bearer {token}"}).status_code


def test_a_token_is_replaced_without_a_restart(served: Served) -> None:
    new = served.folder / "new"
    new.write_text(f"{READER}\n{TOKEN}\n")
    os.replace(new, served.token_file)
    assert (answered(served, TOKEN), answered(served, READER)) == (200, 200)
    served.token_file.write_text(READER)
    assert (answered(served, TOKEN), answered(served, READER)) == (401, 200)
    assert served.notify().status_code == 401


# Strangers


@pytest.fixture
def hold(served: Served) -> Iterator[Callable[[str, int, bytes], None]]:
    """Return a function that opens connections from an address, says something on each, and keeps them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    place = ("127.0.0.1", int(served.url.rpartition(":")[2]))
    with ExitStack() as stack:

        def held(address: str, count: int, said: bytes) -> None:
            for _ in range(count):
                connection = socket.create_connection(place, timeout=30, source_address=(address, 0))
                stack.enter_context(connection).sendall(said)

        yield held
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"GET /ofrep/v1/events HTTP/1.1\r\nhost: x\r\n\r\n",
        b"POST /ofrep/v1/evaluate/flags HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n",
    ],
    ids=["silent", "streams", "bodies that do not come"],
)
def test_strangers_on_all_connections_keep_no_notification_out(
    served: Served, hold: Callable[[str, int, bytes], None], said: bytes
) -> None:
    served.take_to("full")
    for address in ("127.0.0.2", "127.0.0.3", "127.0.0.4"):
        hold(address, 400, said)
    assert httpx.get(f"{served.url}/livez", timeout=30).status_code == 200
    assert answered(served, TOKEN) == 200
    answer = served.notify()
    assert [entry["kind"] for entry in answer.json()["decided"]] == ["rollback"]


def test_the_word_of_a_proxy_counts_only_where_it_is_trusted(served: Served, tmp_path: Path) -> None:
    told = {"x-forwarded-for": "192.0.2.7"}
    httpx.get(f"{served.url}/api/v1/rollouts", headers=told)
    with another(tmp_path / "behind", "--trusted-proxy", "127.0.0.0/8") as (behind, child):
        child.wait_until_ready(30)
        httpx.get(f"{behind.url}/api/v1/rollouts", headers=told)
        assert '"from": "192.0.2.7"' in behind.log()
    assert '"from": "127.0.0.1"' in served.log()


# Roles and TLS by options


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """The files of a certificate for the loopback address, and of its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        if os.environ.get("CI"):
            pytest.fail("openssl is missing")
        pytest.skip("needs openssl")
    files = tmp_path / "certificate.pem", tmp_path / "key.pem"
    command = [
        *(openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
        *("-days", "2", "-subj", "/CN=rollguard", "-addext", "subjectAltName=IP:127.0.0.1"),
        *("-out", str(files[0]), "-keyout", str(files[1])),
    ]
    subprocess.run(command, check=True, capture_output=True)
    return files


@contextmanager
def another(folder: Path, *options: str) -> Iterator[tuple[Served, Child]]:
    """Yield a control plane that is started with options of its own, and its process, not waited for."""
    served = Served(folder)
    reader = folder / "reader"
    reader.write_text(READER)
    command = [*served.process.command[: served.process.command.index("--token-file")]]
    command += ["--role-token", "read", str(reader), *options]
    child = Child("control plane", command, folder / "serve.log", f"{served.url}/readyz")
    child.start()
    try:
        yield served, child
    finally:
        child.stop()


def test_a_token_to_read_with_does_not_operate(tmp_path: Path) -> None:
    with another(tmp_path / "served") as (served, child):
        child.wait_until_ready(30)
        assert (answered(served, READER), answered(served, TOKEN)) == (200, 401)
        served.token_file.write_text(READER)
        found = served.command("start", NAME)
        assert (found.returncode, found.stderr) == (1, "refused: a token with the role operate is needed\n")


def test_over_tls_a_client_trusts_whom_it_is_told_to(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    pem, key = map(str, certificate)
    with another(tmp_path / "served", "--tls", pem, key) as (served, child):
        served.url = served.url.replace("http:", "https:")
        trust = ssl.create_default_context(cafile=pem)
        deadline = time.monotonic() + 30
        while not _ready(served.url, trust):
            assert child.ended() is None, served.log()
            assert time.monotonic() < deadline, served.log()
            time.sleep(0.05)
        served.token_file.write_text(READER)
        with Client(served.url, served.token_file, certificate[0]) as client:
            assert client.get("history") == []
        stranger = served.command("status")
        assert (stranger.returncode, "certificate verify failed" in stranger.stderr) == (2, True)


def _ready(url: str, trust: ssl.SSLContext) -> bool:
    try:
        return httpx.get(f"{url}/readyz", verify=trust).is_success
    except httpx.HTTPError:
        return False


def test_a_certificate_that_is_none_is_named(tmp_path: Path) -> None:
    files = ("missing-certificate", "missing-key")
    with another(tmp_path / "served", "--tls", *files) as (served, child), pytest.raises(ProcessError):
        child.wait_until_ready(30)
    assert "missing-certificate with the key missing-key cannot be used for TLS: " in served.log()
