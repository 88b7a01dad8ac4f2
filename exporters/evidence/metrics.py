"""What the evaluator of evidence offers: the alerts' own series, and what a person needs beside them."""

from __future__ import annotations

from rollguard.conventions import (
    EFFECT_METRIC,
    EVIDENCE_EVENTS_METRIC,
    EVIDENCE_MEAN_METRIC,
    EVIDENCE_METRIC,
    EVIDENCE_PROBLEM_METRIC,
    GUARD_LABEL,
    ROLLOUT_LABEL,
    RUN_LABEL,
)
from rollguard.metric import Metric

LOG_E = Metric(
    EVIDENCE_METRIC,
    "gauge",
    "Evidence against a release, log of the e-value.",
    (ROLLOUT_LABEL, GUARD_LABEL, RUN_LABEL),
    "nats",
)
EVENTS = Metric(
    EVIDENCE_EVENTS_METRIC, "gauge", "Outcomes that were judged.", (ROLLOUT_LABEL, GUARD_LABEL, "arm")
)
MEAN = Metric(
    EVIDENCE_MEAN_METRIC,
    "gauge",
    "Mean outcome; of a rate, the bad share.",
    (ROLLOUT_LABEL, GUARD_LABEL, "arm"),
)
EFFECT = Metric(
    EFFECT_METRIC,
    "gauge",
    "How much worse the canary's mean is, with bounds that hold at every look.",
    (ROLLOUT_LABEL, GUARD_LABEL, "bound"),
)
SPREAD = Metric(
    "rollguard_evidence_dispersion_ratio",
    "gauge",
    "How much more the arms' difference varies than that of independent outcomes.",
    (ROLLOUT_LABEL, GUARD_LABEL),
    "ratio",
)
SPLIT = Metric(
    "rollguard_split_log_evalue",
    "gauge",
    "Evidence that the arms were not split as declared: log of the e-value.",
    (ROLLOUT_LABEL, GUARD_LABEL),
    "nats",
)
PROBLEM = Metric(
    EVIDENCE_PROBLEM_METRIC,
    "gauge",
    "1 while a guard has no evidence for a reason.",
    (ROLLOUT_LABEL, GUARD_LABEL, "reason"),
)
METRICS = (LOG_E, EVENTS, MEAN, EFFECT, SPREAD, SPLIT, PROBLEM)
