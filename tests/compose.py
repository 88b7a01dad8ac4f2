"""docker-compose.yml as docker-compose reads it, and its processes without containers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from rollguard.cli.local.processes import Child, free_port
from tests.factories import ROOT

_UNPACKED = ROOT / ".tools" / "compose" / "bin"
_PORT = re.compile(r"(?<=:)(9090|9093|98\d\d)\b")


class MissingComposeError(Exception):
    """The machine has no docker-compose."""


def composed(profile: str, secrets: Path, **settings: str) -> dict[str, Any]:
    """Return docker-compose.yml with its variables filled in, as docker-compose understands it.

    Args:
        profile: demo or prod.
        secrets: folder of the secrets.
        settings: variables, as of `.env`.
    Raises:
        MissingComposeError: there is no docker-compose.
    """
    program = shutil.which("docker-compose", path=str(_UNPACKED)) or shutil.which("docker-compose")
    if program is None:
        raise MissingComposeError("docker-compose is missing; `make compose` fetches it")
    nothing = secrets.with_name("no.env")  # else it reads the .env of whoever runs this
    nothing.touch()
    command = [program, "--env-file", str(nothing), "--profile", profile, "config"]
    variables = {"ROLLGUARD_SECRETS": str(secrets), **settings}
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = yaml.safe_load(done.stdout)
    return found


def make_secrets(folder: Path) -> Path:
    """Make the secrets in a folder, as `make secrets` does."""
    subprocess.run(["sh", str(ROOT / "deploy" / "secrets.sh"), str(folder)], check=True, capture_output=True)
    return folder


def mounts(stack: Mapping[str, Any], service: str) -> dict[str, str]:
    """Return what a service sees where: path in the container → path here, or name of a volume."""
    found = {}
    for mount in stack["services"][service].get("volumes", ()):
        if isinstance(mount, dict):
            found[mount["target"]] = mount["source"]
        else:
            source, target = mount.split(":")[:2]
            found[target] = source
    for secret in stack["services"][service].get("secrets", ()):
        name = secret["source"]
        found[f"/run/secrets/{name}"] = stack["secrets"][name]["file"]
    return found


class Bare:
    """The stack's processes, started as docker-compose.yml says but on this machine and at free ports.

    Args:
        stack: as docker-compose understands it.
        folder: for volumes, logs and copies of files that name ports.
        state: URL of the ledger, in place of the one in a container; default: none, as nothing is started.
    """

    def __init__(self, stack: Mapping[str, Any], folder: Path, state: str = "") -> None:
        self.stack, self.folder, self.state = stack, folder, state
        self._ports: dict[str, int] = {}
        (folder / "bin").mkdir(parents=True)
        for name, target in (
            ("rollguard", [sys.executable, "-m", "rollguard"]),
            ("python", [sys.executable]),
        ):
            script = folder / "bin" / name
            script.write_text(f'#!/bin/sh\nexec {" ".join(target)} "$@"\n', encoding="ascii")
            script.chmod(0o755)

    def url(self, port: int) -> str:
        """Return where what listens at a port in containers is found here."""
        return f"http://127.0.0.1:{self._port(str(port))}"

    def command(self, service: str, entrypoint: Sequence[str] = ()) -> list[str]:
        """Return the command of a service.

        Args:
            service: its name.
            entrypoint: what its image runs.
        """
        entry = self.stack["services"][service]
        command = [*(entry.get("entrypoint") or entrypoint), *entry["command"]]
        return [self._here(service, part.replace("$$", "$")) for part in command]

    @contextmanager
    def running(self, service: str, ready: str, entrypoint: Sequence[str]) -> Iterator[Child]:
        """Run a service, ready when this yields."""
        work = self._here(service, self.stack["services"][service].get("working_dir", str(self.folder)))
        command = ["env", f"--chdir={work}", f"PATH={self.folder / 'bin'}:{os.environ['PATH']}"]
        child = Child(
            service, [*command, *self.command(service, entrypoint)], self.folder / f"{service}.log", ready
        )
        child.start()
        try:
            child.wait_until_ready(30)
            yield child
        finally:
            child.stop()

    def generate(self) -> Path:
        """Run the service `config`, and return the folder that it wrote."""
        command = self.command("config", [str(self.folder / "bin" / "rollguard")])
        subprocess.run(command, check=True, capture_output=True)
        folder = self._volumes / "config"
        for reader in ("prometheus", "alertmanager"):
            path = folder / f"{reader}.yml"
            path.write_text(self._here(reader, path.read_text(encoding="utf-8")), encoding="utf-8")
        return folder

    @cached_property
    def _volumes(self) -> Path:
        return self.folder / "volumes"

    def _here(self, service: str, text: str) -> str:
        for target, source in mounts(self.stack, service).items():
            text = re.sub(rf"(?<![\w/.]){re.escape(target)}(?![\w-])", self._place(source), text)
        return self._with_ports(text.replace("postgresql://rollguard@127.0.0.1/rollguard", self.state))

    def _place(self, source: str) -> str:
        if not source.startswith("/"):
            place = self._volumes / source
            place.mkdir(parents=True, exist_ok=True)
        elif source == str(ROOT / "rollouts"):
            place = self.folder / "rollouts"
            place.mkdir(exist_ok=True)
            for file in Path(source).glob("*.yaml"):
                text = self._with_ports(file.read_text(encoding="utf-8"))
                (place / file.name).write_text(text, encoding="utf-8")
        else:
            place = Path(source)
        return str(place)

    def _with_ports(self, text: str) -> str:
        return _PORT.sub(lambda match: str(self._port(match[1])), text)

    def _port(self, port: str) -> int:
        if port not in self._ports:
            self._ports[port] = free_port()
        return self._ports[port]


@contextmanager
def all_running(bare: Bare, services: Mapping[str, tuple[str, Sequence[str]]]) -> Iterator[Bare]:
    """Run services in the order given: name → (URL that answers when it is ready, what its image runs)."""
    with ExitStack() as stack:
        for name, (ready, entrypoint) in services.items():
            stack.enter_context(bare.running(name, ready, entrypoint))
        yield bare
