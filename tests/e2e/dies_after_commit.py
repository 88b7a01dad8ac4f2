"""`rollguard serve`, killed by SIGKILL between the commit of a rollback and the reply."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

from rollguard.cli.main import main
from rollguard.server import run
from rollguard.state import Entry


def _die(_self: object, entries: Sequence[Entry], _received_at: float | None) -> None:
    if any(entry.kind == "rollback" for entry in entries):
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    run._Waker.decided = _die  # type: ignore[method-assign,assignment]
    main()
