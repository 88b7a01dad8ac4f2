"""What the control plane offers to Prometheus: each metric described once."""

from __future__ import annotations

from rollguard.conventions import (
    GUARD_HELD_METRIC,
    GUARD_LABEL,
    OPEN_METRIC,
    RUN_METRIC,
    STAGE_ENTERED_METRIC,
    STAGE_METRIC,
)
from rollguard.metric import Metric

NOTIFICATIONS = Metric("rollguard_notifications_total", "counter", "Notifications that were taken.")
REJECTED = Metric(
    "rollguard_notifications_rejected_total", "counter", "Notifications that were refused.", ("reason",)
)
REFUSED = Metric(
    "rollguard_requests_refused_total", "counter", "Calls of webhook and API that were refused.", ("code",)
)
BROKEN = Metric(
    "rollguard_alerts_broken_total", "counter", "Alerts within a notification that could not be read."
)
UNKNOWN = Metric("rollguard_alerts_unknown_total", "counter", "Alerts of no loaded rollout.")
POLLS = Metric("rollguard_reconcile_polls_total", "counter", "Polls of Alertmanager.", ("result",))
NOTICES = Metric(
    "rollguard_notices_total", "counter", "Notices to people, by whether Alertmanager took them.", ("result",)
)
DECISION_SECONDS = Metric(
    "rollguard_decision_duration_seconds",
    "histogram",
    "From a notification's arrival to its decision on disk and in the served flag.",
    unit="seconds",
)
FLIP_SECONDS = Metric(
    "rollguard_flip_duration_seconds",
    "histogram",
    "From a notification's arrival to the last target read back.",
    unit="seconds",
)
LAST_POLL = Metric(
    "rollguard_reconcile_last_success_timestamp_seconds",
    "gauge",
    "When Alertmanager last answered a poll.",
    unit="seconds",
)
LAST_HEARTBEAT = Metric(
    "rollguard_watchdog_last_timestamp_seconds",
    "gauge",
    "When the alert that always fires last came.",
    unit="seconds",
)
LEDGER_READABLE = Metric("rollguard_ledger_readable", "gauge", "1 while the ledger can be read.")
LEDGER_WRITABLE = Metric("rollguard_ledger_writable", "gauge", "1 where a write reaches the ledger's disk.")
LEDGER_PROBED = Metric(
    "rollguard_ledger_last_probe_timestamp_seconds",
    "gauge",
    "When the ledger last answered a probe, with success or failure.",
    unit="seconds",
)
LEDGER_ENTRIES = Metric("rollguard_ledger_entries", "gauge", "Entries in the ledger.")
LEDGER_HEAD = Metric(
    "rollguard_ledger_head_info",
    "gauge",
    "Hash of the last entry; keep it to find a lost tail.",
    ("hash",),
)
STAGE = Metric(STAGE_METRIC, "gauge", "Where a rollout is: 1 for one, 0 for the others.", (STAGE_METRIC,))
FLAG_STATE = Metric(
    "rollout_flag_state", "gauge", "State of the flag: 1 for one, 0 for the others.", ("state",)
)
STAGE_ENTERED = Metric(STAGE_ENTERED_METRIC, "gauge", "When the stage or state began.", unit="seconds")
OPEN = Metric(
    OPEN_METRIC,
    "gauge",
    "1 while the clock runs of a rollout, or of a guard with one of its own; 0 while it is closed.",
    (GUARD_LABEL,),
)
RUN = Metric(RUN_METRIC, "gauge", "Number of the run that is on; no sample while none is.")
PERCENT = Metric("rollout_percent", "gauge", "Share that gets the served variant, %.", unit="percent")
WATCHES = Metric("rollguard_watch_turns_total", "counter", "Looks at Prometheus.", ("result",))
LAST_WATCH = Metric(
    "rollguard_watch_last_success_timestamp_seconds",
    "gauge",
    "When Prometheus last told how the guards fare.",
    unit="seconds",
)
HELD = Metric("rollout_held", "gauge", "Guards that hold the stage.")
GUARD_HELD = Metric(GUARD_HELD_METRIC, "gauge", "1 while a guard holds the stage.", (GUARD_LABEL,))
HOLD_LEFT = Metric(
    "rollout_hold_left_seconds",
    "gauge",
    "What is left of the stage's hold.",
    unit="seconds",
)
WITHOUT_FILE = Metric(
    "rollguard_run_without_file",
    "gauge",
    "1 while a run follows the ledger's note of it, as its rollout file is gone or broken.",
)
OVERDUE = Metric("rollout_overdue", "gauge", "1 while a stage has passed its deadline.")
PAUSED = Metric("rollout_paused", "gauge", "1 while a person keeps the guards from acting.")
UNACKNOWLEDGED = Metric(
    "rollout_unacknowledged", "gauge", "1 from a rollback or a step back until a person has looked at it."
)
BLIND = Metric(
    "rollguard_blind", "gauge", "1 while nobody watches a rollout: no heartbeat, no evaluated rule."
)
DECISION = Metric(
    "rollout_last_decision_timestamp_seconds",
    "gauge",
    "When a rollout was last decided upon: what, by which guard, upon which value and limit.",
    ("run", "decision", "led_to", "decided_by", "evidence"),
    unit="seconds",
)
SWITCHES = Metric("mode_switch_total", "counter", "Changes of a rollout's stage or state.")
ROLLBACKS = Metric("rollback_total", "counter", "Rollbacks and steps back, by guard or by hand.", ("reason",))
DRILL = Metric("rollguard_drill", "gauge", "1 while a drill of the alerting is under way.")
DRILLED = Metric(
    "rollguard_drill_last_success_timestamp_seconds", "gauge", "When a drill last passed.", unit="seconds"
)
PENDING = Metric(
    "rollguard_target_pending", "gauge", "1 while a target does not show the decided state.", ("target",)
)
PENDING_SINCE = Metric(
    "rollguard_target_pending_since_timestamp_seconds",
    "gauge",
    "Since when it does not.",
    ("target",),
    unit="seconds",
)
HANGING = Metric(
    "rollguard_target_hanging", "gauge", "1 while a target's step has not ended for over 5 s.", ("target",)
)

CONTROL_PLANE = tuple(value for value in list(vars().values()) if isinstance(value, Metric))
"""All of them."""
