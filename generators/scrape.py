"""prometheus.yml: what is scraped, which rules are evaluated, where alerts go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rollguard.conventions import (
    ALERTMANAGER_PORT,
    CONTROL_PLANE_PORT,
    EVIDENCE_JOB,
    EVIDENCE_PORT,
    PROMETHEUS_PORT,
    ROLLOUT_LABEL,
)
from rollguard.generators.rules.timing import Timing
from rollguard.spec.rollout import Rollout

_SERVERS = ("prometheus", "alertmanager")


@dataclass(frozen=True)
class Addresses:
    """Where the servers listen, as ``host:port``, and the file with the webhook's token.

    Args:
        token_file: path as Alertmanager sees it; relative to its configuration file.
    """

    prometheus: str = f"127.0.0.1:{PROMETHEUS_PORT}"
    alertmanager: str = f"127.0.0.1:{ALERTMANAGER_PORT}"
    control_plane: str = f"127.0.0.1:{CONTROL_PLANE_PORT}"
    token_file: str = "token"  # noqa: S105 - a path
    evidence: str = f"127.0.0.1:{EVIDENCE_PORT}"


def prometheus_fragment(rollouts: Sequence[Rollout], scale: float, addresses: Addresses) -> dict[str, Any]:
    """Return what a Prometheus that exists already needs; it scrapes itself and Alertmanager, as most do.

    Args:
        rollouts: as for `prometheus_config`, and so are the others.
    Returns:
        Items for its lists ``rule_files`` and ``scrape_configs``.
    """
    whole = prometheus_config(rollouts, scale, addresses)
    interval = {"scrape_interval": whole["global"]["scrape_interval"]}
    jobs = [{**interval, **job} for job in whole["scrape_configs"]]
    own = [job for job in jobs if job["job_name"] not in _SERVERS]
    return {"rule_files": whole["rule_files"], "scrape_configs": own}


def prometheus_config(rollouts: Sequence[Rollout], scale: float, addresses: Addresses) -> dict[str, Any]:
    """Return Prometheus's configuration for some rollouts.

    Args:
        rollouts: checked rollouts; those that share a job share the shortest of their intervals. Where its
            series come with their rollout, the job has the targets once.
        scale: what every interval is divided by.
        addresses: of the servers.
    Returns:
        The content of ``prometheus.yml``; rule files are found beside it in ``rules/``.
    """
    shortest = min(rollout.scrape.interval for rollout in rollouts)
    timing = Timing(scale, shortest)
    interval = timing.text(shortest)
    jobs: dict[str, dict[str, Any]] = {}
    for rollout in sorted(rollouts, key=lambda item: item.scrape.interval):
        own = timing.text(rollout.scrape.interval)
        known = rollout.scrape.job in jobs
        job = jobs.setdefault(
            rollout.scrape.job,
            {"job_name": rollout.scrape.job, "scrape_interval": own, "static_configs": []},
        )
        targets: dict[str, Any] = {"targets": list(rollout.scrape.targets)}
        if not rollout.scrape.labelled:
            job["static_configs"].append({**targets, "labels": {ROLLOUT_LABEL: rollout.name}})
        elif not known:
            job.update(honor_labels=True, static_configs=[targets])
    if any(rollout.by_evidence for rollout in rollouts):
        evaluator = {"targets": [addresses.evidence]}
        jobs[EVIDENCE_JOB] = {"job_name": EVIDENCE_JOB, "honor_labels": True, "static_configs": [evaluator]}
    platform = [
        {
            "job_name": "rollguard",
            "honor_labels": True,
            "static_configs": [{"targets": [addresses.control_plane]}],
        },
        {"job_name": "prometheus", "static_configs": [{"targets": [addresses.prometheus]}]},
        {"job_name": "alertmanager", "static_configs": [{"targets": [addresses.alertmanager]}]},
    ]
    return {
        "global": {"scrape_interval": interval, "evaluation_interval": interval},
        "rule_files": ["rules/*.rules.yml"],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [addresses.alertmanager]}]}]},
        "scrape_configs": [*jobs.values(), *platform],
    }
