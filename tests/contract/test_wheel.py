"""What is installed: one import name, the same files however it is built, and commands that work from it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from rollguard.generators.tools import binaries
from tests.factories import ROOT

FOLDERS = ("alerts", "cli", "dashboards", "exporters", "generators")


def built(kind: str, place: Path, to: Path) -> Path:
    """Build a distribution of what lies in a folder, without a network."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(to)]
    subprocess.run(command, cwd=place, check=True, capture_output=True)
    (found,) = to.iterdir()
    return found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built("wheel", ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with the wheel's files, as an installer would lay them out."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder)
    return folder


@pytest.fixture(
    params=[
        pytest.param("in an empty folder", marks=pytest.mark.slow),
        "beside folders of the same names",
    ]
)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param != "in an empty folder":
        for name in (*FOLDERS, "demo"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "__init__.py").write_text("raise ImportError('this is the user's')\n")
    return tmp_path


def run(site: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment(site), capture_output=True, text=True, check=False
    )


def environment(site: Path) -> dict[str, str]:
    path = f"{ROOT / '.tools' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PYTHONPATH": str(site), "PYTHONUNBUFFERED": "1", "PATH": path}


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as file:
        return set(file.namelist())


def test_a_wheel_has_one_import_name(wheel: Path) -> None:
    tops = {name.partition("/")[0] for name in names(wheel)}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"rollguard"}
    assert {f"rollguard/{folder}/__init__.py" for folder in FOLDERS} <= names(wheel)
    assert "rollguard/alerts/library/sets/trading-feature.yaml" in names(wheel)


def test_a_wheel_from_the_sdist_holds_the_same_files(wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(built("sdist", ROOT, tmp_path / "sdist")) as file:
        file.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    assert names(built("wheel", unpacked, tmp_path / "wheel")) == names(wheel)


def test_an_editable_install_copies_nothing(tmp_path: Path) -> None:
    editable = built("wheel:editable", ROOT, tmp_path / "wheel")
    files = {name for name in names(editable) if ".dist-info/" not in name}
    assert files == {"_rollguard.pth"}
    with zipfile.ZipFile(editable) as file:
        assert file.read("_rollguard.pth").decode().strip() == str(ROOT)


def test_every_module_of_the_wheel_imports(site: Path, folder: Path) -> None:
    modules = {
        ".".join(path.relative_to(site).with_suffix("").parts).removesuffix(".__init__")
        for path in (site / "rollguard").rglob("*.py")
        if path.stem != "__main__"
    }
    code = (
        "import importlib, sys\n"
        f"for name in {sorted(modules)}: importlib.import_module(name)\n"
        "from rollguard import exporters; print(exporters.__file__)"
    )
    done = run(site, folder, "-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(site))


def test_the_commands_work_from_a_wheel(
    site: Path, folder: Path, need_binary: Callable[[binaries.Binary], str]
) -> None:
    for binary in (binaries.PROMETHEUS, binaries.PROMTOOL, binaries.ALERTMANAGER, binaries.AMTOOL):
        need_binary(binary)
    for arguments in (
        ["init", "my-rollout"],
        ["check"],
        ["test"],
        ["generate", "--out", "generated"],
        ["dashboards", "generate", "--out", "boards"],
    ):
        done = run(site, folder, "-m", "rollguard", *arguments)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    command = [sys.executable, "-m", "rollguard", "up", "--free-ports"]
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment(site),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("next:"):
                break
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait(30) == 0, "".join(lines)
