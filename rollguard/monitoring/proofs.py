"""How far a proof is: what is missing until a criterion `not_worse` holds, in outcomes and in time."""

from __future__ import annotations

from rollguard.conventions import EFFECT_METRIC, EVIDENCE_EVENTS_METRIC, GUARD_LABEL, ROLLOUT_LABEL
from rollguard.durations import render
from rollguard.monitoring.prometheus import Prometheus
from rollguard.spec.rollout import Criterion

_RATE_SECONDS = 86_400.0


def missing(prometheus: Prometheus, rollout: str, criterion: Criterion, scale: float) -> str:
    """Return what a proof still needs, in words; nothing where nobody can say.

    The bound narrows with the root of the number of outcomes, where the difference stays what it is.

    Args:
        prometheus: which has the effect and its bounds.
        rollout: its name.
        criterion: with `not_worse` and `margin`.
        scale: what durations are divided by.
    Raises:
        PrometheusError: it does not answer.
    """
    labels = f'{ROLLOUT_LABEL}="{rollout}",{GUARD_LABEL}="{criterion.not_worse}"'
    estimate, upper = (
        prometheus.value(f'{EFFECT_METRIC}{{{labels},bound="{bound}"}}') for bound in ("estimate", "upper")
    )
    judged = f'{EVIDENCE_EVENTS_METRIC}{{{labels},arm="canary"}}'
    events = prometheus.value(judged)
    if estimate is None or upper is None or not events or criterion.margin is None:
        return "nothing was compared yet"
    room = criterion.margin - estimate
    if room <= 0:
        return f"it is worse by {estimate:.3g} now"
    needed = events * max(0.0, ((upper - estimate) / room) ** 2 - 1)
    rate = prometheus.value(f"deriv({judged}[{render(_RATE_SECONDS / scale)}])")
    when = f", {_about(needed / rate)} at today's rate" if rate and rate > 0 else ""
    return f"about {needed:,.0f} more outcomes of the new variant{when}"


def _about(seconds: float) -> str:
    unit, name = next(
        (pair for pair in ((86_400.0, "days"), (3_600.0, "hours")) if seconds >= 2 * pair[0]),
        (60.0, "minutes"),
    )
    return f"{seconds / unit:.0f} {name}"
