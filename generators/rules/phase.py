"""When Prometheus scrapes and evaluates within its interval: fixed times, of which one can be chosen.

A group of rules is evaluated at a fixed time of each interval, which follows from its file's path and its
name. A target is scraped at another, which follows from its labels, its address, and a seed that each server
makes of its host name and external labels: that one can only be asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx
import xxhash

from rollguard import durations
from rollguard.conventions import ROLLOUT_LABEL
from rollguard.errors import RollguardError

CANDIDATES = 99
_TIMEOUT_SECONDS = 10.0
_NANOSECONDS = 1_000_000_000
_MARGIN_RATIO = 0.05
"""A chosen evaluation keeps so much of the interval from the scrape: neither is quite on time."""


class PhaseError(RollguardError):
    """Prometheus did not say when it scrapes and evaluates."""


@dataclass(frozen=True)
class Group:
    """A group of rules as Prometheus has loaded it.

    Args:
        file: the rule file's path as Prometheus names it.
        name: the group's.
        interval: of its evaluation, seconds.
    """

    file: str
    name: str
    interval: float

    @property
    def offset(self) -> float:
        """When within each interval it is evaluated, seconds since the interval began."""
        return group_offset(self.file, self.name, self.interval)


@dataclass(frozen=True)
class Scraped:
    """When a target is scraped.

    Args:
        offset: within each interval, seconds since the interval began.
        takes: how long the last scrape took, seconds.
    """

    offset: float
    takes: float


@dataclass(frozen=True)
class Phase:
    """When one rollout is scraped and evaluated.

    Args:
        groups: its groups of rules.
        targets: its targets.
    """

    groups: tuple[Group, ...]
    targets: tuple[Scraped, ...]

    @property
    def wait(self) -> float:
        """The longest time from a scrape to the evaluation that sees it, seconds."""
        return self.wait_with(0.0)

    def wait_with(self, margin_ratio: float) -> float:
        """Return the same where scrapes may end late by a part of the interval."""
        return max(
            _wait(group.offset, target, group.interval, margin_ratio * group.interval)
            for group in self.groups
            for target in self.targets
        )


def group_offset(file: str, name: str, interval: float) -> float:
    """Return when within each interval a group is evaluated.

    Args:
        file: the rule file's path as Prometheus names it.
        name: the group's.
        interval: of its evaluation, seconds.
    Returns:
        Seconds since the interval began; intervals are counted from the Unix epoch.
    Source: Prometheus 2.42, rules/manager.go (``EvalTimestamp``) and model/labels (``Hash``); held by a test.
        Later versions hash otherwise.
    """
    text = b"".join(part.encode() + b"\xff" for pair in (("file", file), ("name", name)) for part in pair)
    return xxhash.xxh64_intdigest(text) % round(interval * _NANOSECONDS) / _NANOSECONDS


def measured(url: str, jobs: Mapping[str, str]) -> dict[str, Phase]:
    """Return when a running Prometheus scrapes and evaluates some rollouts.

    Args:
        url: of Prometheus.
        jobs: rollout → the job that scrapes it.
    Returns:
        Those of which it has both a target and a group that it has scraped and evaluated.
    Raises:
        PhaseError: it does not answer.
    """
    groups = _ask(url, "/api/v1/rules")["groups"]
    targets = _ask(url, "/api/v1/targets?state=active")["activeTargets"]
    found = {}
    for name, job in jobs.items():
        phase = Phase(tuple(_groups_of(groups, name)), tuple(_targets_of(targets, name, job)))
        if phase.groups and phase.targets:
            found[name] = phase
    return found


def best_name(phase: Phase, rollout: str) -> tuple[str, float]:
    """Return the group name by which evaluations follow scrapes soonest.

    Args:
        phase: as measured.
        rollout: its name; candidates are this and ``<name>-p1`` to ``-p99``.
    Returns:
        The name, and its longest wait in seconds.
    """
    names = [rollout, *(f"{rollout}-p{number}" for number in range(1, CANDIDATES + 1))]
    waits = {name: _renamed(phase, name).wait_with(_MARGIN_RATIO) for name in names}
    best = min(names, key=lambda name: waits[name])
    return best, waits[best]


def group_names(name: str, count: int) -> list[str]:
    """Return the names of a rollout's groups of rules: the first has the name itself."""
    return [name if number == 1 else f"{name}-{number}" for number in range(1, count + 1)]


def _renamed(phase: Phase, name: str) -> Phase:
    names = group_names(name, len(phase.groups))
    groups = (
        Group(group.file, other, group.interval) for group, other in zip(phase.groups, names, strict=True)
    )
    return Phase(tuple(groups), phase.targets)


def _wait(evaluated: float, target: Scraped, interval: float, margin: float = 0.0) -> float:
    """An evaluation that begins before the scrape has ended sees it an interval later."""
    takes = target.takes + margin
    return (evaluated - target.offset - takes) % interval + takes


def _groups_of(groups: Sequence[Mapping[str, Any]], rollout: str) -> Iterable[Group]:
    for group in groups:
        if group["file"].replace("\\", "/").endswith(f"/{rollout}.rules.yml"):
            yield Group(group["file"], group["name"], float(group["interval"]))


def _targets_of(targets: Sequence[Mapping[str, Any]], rollout: str, job: str) -> Iterable[Scraped]:
    for target in targets:
        labels = target["labels"]
        # Where the series name their rollout themselves, the target does not.
        ours = labels["job"] == job and labels.get(ROLLOUT_LABEL, rollout) == rollout
        interval = _seconds(target.get("scrapeInterval", ""))
        at = _nanoseconds(target["lastScrape"])
        if ours and interval and at > 0:
            offset = at % round(interval * _NANOSECONDS) / _NANOSECONDS
            yield Scraped(offset, float(target.get("lastScrapeDuration", 0.0)))


def _ask(url: str, path: str) -> Any:
    try:
        answer = httpx.get(url.rstrip("/") + path, timeout=_TIMEOUT_SECONDS)
        answer.raise_for_status()
        return answer.json()["data"]
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError) as error:
        raise PhaseError(
            f"{url}{path} does not say when Prometheus scrapes and evaluates: {error}"
        ) from error


def _seconds(text: str) -> float:
    try:
        return durations.parse(text)
    except ValueError:
        return 0.0


def _nanoseconds(text: str) -> int:
    """Return nanoseconds since the epoch of RFC 3339 text, of which datetime keeps six digits only."""
    at = datetime.fromisoformat(re.sub(r"\.\d+", "", text))
    fraction = re.search(r"\.(\d+)", text)
    return int(at.timestamp()) * _NANOSECONDS + int((fraction[1] if fraction else "0").ljust(9, "0")[:9])
