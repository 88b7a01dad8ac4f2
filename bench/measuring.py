"""What measurements share: CPU seconds and memory of a process, medians, growth."""

from __future__ import annotations

import math
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import click

_ROOT = Path(__file__).parents[1]
_MIB = 1 << 20


class Used(NamedTuple):
    """What a process used.

    Args:
        cpu: seconds, user and system.
        peak: resident memory, bytes.
        output: what it printed.
    """

    cpu: float
    peak: int
    output: str


_LAUNCHER = """
import os, sys
pid = os.fork()
if not pid:
    os.execv(sys.argv[1], sys.argv[1:])
_, status, used = os.wait4(pid, 0)
print(used.ru_utime + used.ru_stime, used.ru_maxrss * 1024, file=sys.stderr)
sys.exit(os.waitstatus_to_exitcode(status))
"""
"""A child of ours would begin with our own peak of memory."""


def run(command: Sequence[str]) -> Used:
    """Run a command, whose first word is a path, to its end."""
    launched = [sys.executable, "-S", "-c", _LAUNCHER, *command]
    done = subprocess.run(launched, capture_output=True, text=True, check=False)
    if done.returncode:
        raise click.ClickException(f"{' '.join(command)} failed:\n{done.stderr}")
    cpu, peak = done.stderr.splitlines()[-1].split()
    return Used(float(cpu), int(peak), done.stdout)


def peer(name: str) -> str:
    """Return the path of a program that is measured beside, fetched where it is missing."""
    subprocess.run(["sh", _ROOT / "setup" / "peers.sh"], check=True)
    return str(_ROOT / ".tools" / "peers" / "bin" / name)


def spread(values: Sequence[float], digits: int = 0) -> str:
    """Return the median and the extremes, as text."""
    low, middle, high = (
        f"{one:,.{digits}f}" for one in (min(values), statistics.median(values), max(values))
    )
    return f"{middle} ({low} to {high})"


def megabytes(count: float) -> str:
    """Return bytes as text in MiB."""
    return f"{count / _MIB:.0f} MiB"


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Return the power of the size by which the cost grows: the slope of a line through the logarithms."""
    return statistics.linear_regression([*map(math.log, sizes)], [*map(math.log, costs)]).slope
