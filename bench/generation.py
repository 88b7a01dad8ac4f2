"""Measure how long rules take to render and what ships takes to check, beside promtool.

Rollouts of ten guards, of three templates, are written as files and loaded as `rollguard generate` does. Each
size runs in a process of its own, so that the memory is its own. On a machine that others use, CPU
seconds tell more than the clock.

    python -m bench generate
"""

from __future__ import annotations

import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import click

from rollguard.generators import output
from rollguard.generators.tools import binaries
from rollguard.spec.loading import load_rollouts

SIZES = (10, 100, 1000)
GUARDS = 10
_MIB = 1024.0
_HEAD = """\
rollout: {name}
title: One of many
owner: bench
scrape: {{job: {name}, targets: ["127.0.0.1:9000"]}}
flag: {{key: {name}, variants: {{candidate: true, active: false}}, serve: candidate, fallback: active}}
stages: [{{name: canary, percent: 10}}, {{name: full, percent: 100}}]
rollback: {{within: 11m}}
guards:
"""
_GUARDS = (
    "use: threshold, with: {{metric: 'r_{n}{{route=\"a\"}}', above: 0.0{n}}}, for: 5m, stages: [canary]",
    "use: trails-baseline, with: {{metric: rate_{n}, baseline: base_{n}, delta_ratio: 0.05}}",
    "use: increases, with: {{metric: failures_{n}_total, window: 10m}}",
    "use: threshold, with: {{metric: score_{n}, below: 0.5, aggregate: average, window: 30m}}",
)


@dataclass(frozen=True)
class Run:
    """One size.

    Args:
        rollouts: how many.
        load: seconds to read and check the files.
        render: seconds to render the rules.
        write: seconds to write them.
        peak: of resident memory, MiB.
        check: seconds of promtool check rules on the result.
        cpu: CPU seconds of load, render and write.
        check_cpu: CPU seconds of promtool.
    """

    rollouts: int
    load: float
    render: float
    write: float
    peak: float
    check: float
    cpu: float
    check_cpu: float

    @property
    def generate(self) -> float:
        """Seconds from files to files."""
        return self.load + self.render + self.write


def rollout(number: int) -> str:
    """Return a rollout file with ten guards."""
    lines = [_HEAD.format(name=f"rollout-{number}")]
    for guard in range(GUARDS):
        body = _GUARDS[guard % len(_GUARDS)].format(n=guard + 1)
        lines.append(f"  - {{alert: Guard{guard + 1}, {body}, severity: critical, action: rollback}}\n")
    return "".join(lines)


def _measure(count: int) -> Run:
    with tempfile.TemporaryDirectory(prefix="rollguard-bench-") as temporary:
        folder = Path(temporary)
        (folder / "rollouts").mkdir()
        for number in range(count):
            (folder / "rollouts" / f"rollout-{number}.yaml").write_text(rollout(number), encoding="utf-8")
        before = time.process_time()
        moments = [time.perf_counter()]
        loaded = load_rollouts(folder / "rollouts")
        moments.append(time.perf_counter())
        files = output.rules(loaded)
        moments.append(time.perf_counter())
        output.write(files, folder / "out")
        moments.append(time.perf_counter())
        cpu = time.process_time() - before
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _MIB
        rules = sorted(map(str, (folder / "out" / "rules").iterdir()))
        command = [binaries.find(binaries.PROMTOOL), "check", "rules", *rules]
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        check = time.perf_counter() - began
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
    load, render, write = (after - before for before, after in pairwise(moments))
    return Run(count, load, render, write, peak, check, cpu, used.ru_utime + used.ru_stime)


def _in_a_process(count: int) -> Run:
    command = [sys.executable, "-m", "bench.generation", str(count)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return Run(**json.loads(done.stdout))


def _exponent(runs: Sequence[Run]) -> float:
    """Return the power of the number of rollouts by which CPU time grows, from the first to the last."""
    first, last = runs[0], runs[-1]
    return math.log(last.cpu / first.cpu) / math.log(last.rollouts / first.rollouts)


def _check_of_what_ships() -> float:
    command = [sys.executable, "-Pm", "rollguard", "check"]
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


@click.command()
def generate() -> None:
    """Measure how long rules take to render, beside promtool check rules, and the check of what ships."""
    columns = (
        "load",
        "render",
        "write",
        "generate",
        "promtool",
        "ratio",
        "CPU",
        "CPU p.",
        "ratio",
        "peak MiB",
    )
    click.echo("rollouts".rjust(10) + "".join(name.rjust(10) for name in columns))
    runs = []
    for size in SIZES:
        run = _in_a_process(size)
        runs.append(run)
        values = [run.load, run.render, run.write, run.generate, run.check, run.generate / run.check]
        values += [run.cpu, run.check_cpu, run.cpu / run.check_cpu]
        click.echo(f"{size:10}" + "".join(f"{value:10.2f}" for value in values) + f"{run.peak:10.0f}")
    click.echo(f"generate grows with the number of rollouts to the power of {_exponent(runs):.2f}")
    click.echo(f"rollguard check of what ships: {_check_of_what_ships():.1f} s")


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(_measure(int(sys.argv[1])))))
