"""`rollguard serve` against callers that are wrong, slow or strangers: calls by its own OpenAPI document."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from rollguard.cli.client import Client
from rollguard.processes import Child, ProcessError
from tests.contract.conftest import NAME, TOKEN, Served

READER = "a-reading-token-0123456789"


def test_by_its_own_document_what_is_right_is_answered_and_what_is_wrong_refused(served: Served) -> None:
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{served.url}/api/v1/openapi.json"),
        *("--header", f"Authorization: Bearer {TOKEN}", "--phases", "examples,coverage,fuzzing"),
        *("--max-examples", "5", "--seed", "1", "--generation-database", "none", "--warnings", "off"),
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
