"""What must hold before a run starts: commands on this machine, and questions to Prometheus."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rollguard.control.transitions import RefusedError
from rollguard.errors import RollguardError
from rollguard.monitoring import queries
from rollguard.monitoring.prometheus import (
    Prometheus,
    PrometheusError,
    QueryRefusedError,
    SeveralSeriesError,
)
from rollguard.spec.falsifiable import criterion_fault
from rollguard.spec.rollout import Preflight, Rollout
from rollguard.targets.command import told
from rollguard.targets.interface import TargetError
from rollguard.targets.memory import Memory
from rollguard.targets.process import Runner, end_left_over

MOST_AT_A_TIME = 4
"""Half of the threads of the API: commands that hang keep nobody from rolling back."""


class PreflightError(RollguardError):
    """What must hold before a run does not."""


@dataclass
class Preflights:
    """Tries the preflights of rollouts, each rollout's once at a time.

    Args:
        root: the folder that commands run in.
        memory: where it is noted which command runs, so that none outlives a control plane that was killed.
        prometheus: the client; None where there is none to ask.
    """

    root: Path
    memory: Path
    prometheus: Prometheus | None
    _under_way: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, rollout: Rollout, run: int) -> tuple[list[dict[str, Any]], list[str]]:
        """Try all that must hold.

        Args:
            rollout: its file.
            run: the number of the run that is to start.
        Returns:
            What passed, as JSON data, and why the rest did not.
        Raises:
            RefusedError: the rollout's preflight is under way, or those of many others are.
        """
        passed, failures = [], []
        with self._alone(rollout.name):
            for item in rollout.preflight:
                try:
                    passed.append({"name": item.name, **self._try(rollout, run, item)})
                except (TargetError, PrometheusError, PreflightError) as error:
                    failures.append(f"{item.name}: {str(error).rstrip('.')}")
        return passed, failures

    def _try(self, rollout: Rollout, run: int, item: Preflight) -> dict[str, Any]:
        if item.expr is not None:
            return self._ask(rollout, item.expr)
        assert item.run is not None
        memory = Memory(self.memory / rollout.name, f"preflight {item.name}")
        end_left_over(memory.load().get("running"))
        runner = Runner(
            self.root,
            item.timeout,
            told(rollout.name, run, rollout.stages[0].name),
            on_start=lambda process: memory.keep({"running": process}),
        )
        runner.run(item.run)
        return {"run": list(item.run)}

    def _ask(self, rollout: Rollout, expr: str) -> dict[str, Any]:
        if self.prometheus is None:
            raise PreflightError("there is no Prometheus to ask")
        try:
            query = queries.within(expr, rollout.name)
            if fault := criterion_fault(expr):
                raise PreflightError(f"always holds: {fault.why}")
            value = self.prometheus.value(queries.measured(query))
            if self.prometheus.value(query) is None:
                measured = "no data" if value is None else f"{value:g}"
                raise PreflightError(f"{measured}, expected {query}")
        except (queries.QueryError, QueryRefusedError, SeveralSeriesError) as error:
            raise PreflightError(str(error).partition("\n")[0]) from error
        return {"query": query, "value": value}

    @contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        with self._lock:
            if name in self._under_way:
                raise RefusedError(f"{name}: its preflight is under way.")
            if len(self._under_way) >= MOST_AT_A_TIME:
                raise RefusedError(f"{name}: {MOST_AT_A_TIME} preflights are under way; try again later.")
            self._under_way.add(name)
        try:
            yield
        finally:
            with self._lock:
                self._under_way.discard(name)
