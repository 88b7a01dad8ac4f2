"""A look asks Prometheus for what each guard by evidence reads; what is refused of one concerns no other."""

from __future__ import annotations

from typing import cast

from rollguard.exporters.evidence.judged import judged
from rollguard.exporters.evidence.looks import LookSource
from rollguard.monitoring.prometheus import Prometheus, QueryRefusedError, Sample
from rollguard.spec.rollout import Guard, Rollout
from tests.factories import shipped_rollout


class Refusing:
    """A Prometheus that refuses what reads a metric, and has one sample of everything else."""

    url = "http://127.0.0.1:1"

    def __init__(self, metric: str) -> None:
        self.metric = metric

    def query(self, query: str, *, at: float) -> list[Sample]:
        if self.metric in query:
            raise QueryRefusedError("too many samples")
        return [Sample({"rollout": "sound"}, 1.0)]


def rollout(name: str, metric: str) -> Rollout:
    given = {
        "alert": "Worse",
        "use": "compare",
        "with": {"bad": f"{metric}_bad_total", "total": f"{metric}_total", "cluster": "none"},
        "severity": "critical",
        "action": "rollback",
    }
    return shipped_rollout().model_copy(update={"rollout": name, "guards": (Guard.model_validate(given),)})


def test_a_selector_that_is_refused_keeps_no_other_rollout_from_being_judged() -> None:
    found = {one.name: judged(one) for one in (rollout("huge", "huge"), rollout("sound", "small"))}
    source = LookSource(cast(Prometheus, Refusing("huge_")), found, 15.0)
    looks = source.read().records
    assert looks is not None
    assert {name: look.error for name, look in looks.items()} == {
        "huge": "Prometheus refuses a query: too many samples",
        "sound": "",
    }
    assert looks["sound"].samples
