"""Many rollouts on a real control plane: few threads, and one file that soon shows all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.many_rollouts import Served
from tests.polling import eventually

PIDS = 256
"""What the compose file lets a container have."""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    found = Served(tmp_path)
    found.child.start()
    try:
        found.child.wait_until_ready(60)
        yield found
    finally:
        found.stop()


def test_when_300_rollouts_fall_at_once_their_file_soon_shows_all(served: Served) -> None:
    eventually(lambda: served.all_are("candidate"), "all are on in the file")
    served.fall()
    # The deadline is generous: of a machine that is busy. The write itself takes a fraction of a second.
    eventually(lambda: served.all_are("active"), "all are off in the file", seconds=20)
    assert served.threads() < PIDS / 4
