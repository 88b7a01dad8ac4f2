"""The command that serves a control plane, for tests and bench."""

from __future__ import annotations

import sys
from pathlib import Path

from rollguard.cli.local.processes import free_port


def serve_command(folder: Path, url: str, *more: str, rollouts: Path, state: str | None = None) -> list[str]:
    """Return the command line of a control plane that keeps all it has in a folder, with the file `token`.

    Args:
        folder: root of the targets.
        url: where it is to listen.
        more: options; it asks no Prometheus and an Alertmanager that is not there where these name none.
        rollouts: their folder or file.
        state: URL of the ledger; None: a file in the folder.
    """
    if "--prometheus" not in more:
        more += ("--without-prometheus",)
    if "--alertmanager" not in more:
        more += ("--alertmanager", f"http://127.0.0.1:{free_port()}")
    if "--poll" not in more:
        more += ("--poll", "1h")
    return [
        *(sys.executable, "-m", "rollguard", "serve", "--listen", url.removeprefix("http://")),
        *("--rollouts", str(rollouts), "--state", state or f"sqlite:///{folder / 'ledger.db'}"),
        *("--token-file", str(folder / "token"), "--root", str(folder), "--memory", str(folder / "memory")),
        *more,
    ]
