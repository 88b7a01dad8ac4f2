"""What an alert by evidence says: outcomes of both variants, which Prometheus looks up when it fires."""

from __future__ import annotations

from rollguard.conventions import (
    EVIDENCE_EVENTS_METRIC,
    EVIDENCE_MEAN_METRIC,
    GUARD_LABEL,
    ROLLOUT_LABEL,
)
from rollguard.spec.rollout import Guard, Rollout

_NUMBER, _PERCENT, _COUNT = 'printf "%.4g"', "humanizePercentage", 'printf "%.0f"'


def description(rollout: Rollout, guard: Guard, words: str) -> str:
    """Return the description of an alert by evidence, as a template of Prometheus.

    Args:
        rollout: whose it is.
        guard: by `compare` or `limit`.
        words: its condition.
    """

    def asked(metric: str, arm: str, shown: str) -> str:
        series = f'{metric}{{{ROLLOUT_LABEL}="{rollout.name}",{GUARD_LABEL}="{guard.name}",arm="{arm}"}}'
        return f"{{{{ with query `{series}` }}}}{{{{ . | first | value | {shown} }}}}{{{{ end }}}}"

    form = _PERCENT if "total" in guard.bindings[0] else _NUMBER
    new, judged = asked(EVIDENCE_MEAN_METRIC, "canary", form), asked(EVIDENCE_EVENTS_METRIC, "canary", _COUNT)
    if guard.use == "limit":
        return f"{new} of {judged} outcomes are bad: {words}."
    old, beside = (
        asked(EVIDENCE_MEAN_METRIC, "baseline", form),
        asked(EVIDENCE_EVENTS_METRIC, "baseline", _COUNT),
    )
    return f"{new} against {old}, of {judged} and {beside} outcomes: {words}."
