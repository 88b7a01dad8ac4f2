"""Names that several modules share: labels, metrics, addresses."""

from __future__ import annotations

ROLLOUT_LABEL = "rollout"
"""Every series of a rollout carries it; it is attached when the series is scraped."""

VARIANT_LABEL = "variant"
"""Tells those who have the feature (`exposed`) from those who do not, where a metric does."""

GUARD_LABEL = "guard"
"""Label of every alert of a guard: its name within the rollout."""

ROLLBACK_RECEIVER = "rollguard"
"""Alertmanager's receiver that calls the control plane."""

NOTICES = ("RolloutStarted", "RolloutPromoted", "RolloutHeld", "RolloutRolledBack")
"""Alerts by which the control plane tells people of a transition."""

DRILL = "RollguardDrill"
"""Alert that fires while somebody drills a rollout; it has the way of a rollback, and takes nothing back."""

EVIDENCE_METRIC = "rollguard_log_evalue"
"""Evidence against a release, by rollout and guard: log of the e-value; none while it cannot be judged."""

EFFECT_METRIC = "rollguard_effect"
"""How much worse the new variant is, by rollout, guard and bound: estimate, lower, upper."""

EVIDENCE_EVENTS_METRIC = "rollguard_evidence_events"
"""Outcomes of a run that were judged, by rollout, guard and arm."""

EVIDENCE_MEAN_METRIC = "rollguard_evidence_mean"
"""Their mean, by the same labels; of a rate, the share of bad ones."""

EVIDENCE_PROBLEM_METRIC = "rollguard_evidence_problem"
"""1 while a guard has no evidence, by rollout, guard and reason."""

RUN_METRIC = "rollout_run"
"""Number of a rollout's run that is on; no sample while none is."""

RUN_LABEL = "run"
"""Of an alert that rests on one run alone, as on its evidence: in another run it does not count."""

GUARD_HELD_METRIC = "rollout_guard_held"
"""1 while a guard holds its rollout."""

RULES_INFO = "rollguard_rules_info"
"""Recording rule in every rule file; its label ``digest`` says which rollout file it was rendered from, and
``dashboard`` the uid of what shows it."""

STAGE_METRIC = "rollout_stage"
"""State set: 1 for the stage a rollout is in, 0 for the others; the label has the same name."""

STAGE_ENTERED_METRIC = "rollout_stage_entered_timestamp_seconds"
"""When a rollout's stage or state began, in seconds since the epoch."""

OPEN_METRIC = "rollout_open"
"""1 while the clock of a rollout runs, or that of the guard in its label, and 0 while it is closed."""

DISABLED, ENABLED, ROLLBACK = "disabled", "enabled", "rollback"
STATES_WITHOUT_STAGE = (DISABLED, ENABLED, ROLLBACK)
"""Values of the label ``rollout_stage`` beside the stages' own names; no stage may be called so."""

FALLBACK, PREVIOUS = "fallback", "previous"
"""Where a rollback may lead beside a stage's own name; no stage may be called so."""

PLATFORM = "platform"
"""Name of the platform's rule file, and of what the ledger enters of itself; no rollout may be called so."""

EVIDENCE_JOB = "evidence"
"""Job by which Prometheus scrapes the evaluator of evidence."""

PLATFORM_JOBS = ("rollguard", "prometheus", "alertmanager", EVIDENCE_JOB)
"""Jobs by which Prometheus scrapes the servers themselves; no rollout's job may be called so."""

MIN_INTERVAL_SECONDS = 0.2
"""Below it, scrapes and evaluations time out and alerts flap (measured on Prometheus 2.42)."""

CONTROL_PLANE_PORT = 9840
EVIDENCE_PORT = 9846
PROMETHEUS_PORT = 9090
ALERTMANAGER_PORT = 9093


HEADROOM = "rollout_guard:closeness:max"
"""Recorded for each guard while it is armed and has data: 0 is far from its limit, 1 is at it."""
