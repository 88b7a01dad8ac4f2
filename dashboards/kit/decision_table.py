"""The table of what was decided: the newest entries of the ledger, with what each rested on."""

from __future__ import annotations

from collections.abc import Iterator

from rollguard.dashboards.kit.colours import BREACHED, HEALTHY, HELD, MEASURED, mapped
from rollguard.dashboards.kit.panels import Override, Panel, override, query, table
from rollguard.dashboards.kit.units import MOMENT

_DECISION = "rollout_last_decision_timestamp_seconds"
_COLUMNS = {
    "Value": "When",
    "rollout": "Rollout",
    "decision": "Decision",
    "led_to": "Led to",
    "decided_by": "Decided by",
    "evidence": "Evidence",
    "run": "Run",
}
_WORDS = mapped(
    [
        ("start", "started", MEASURED),
        ("promote", "promoted", HEALTHY),
        ("hold", "held", HELD),
        ("release", "no longer held", HEALTHY),
        ("overdue", "overdue", HELD),
        ("extend", "extended", HELD),
        ("would_rollback", "would be rolled back", HELD),
        ("step_back", "a stage back", BREACHED),
        ("rollback", "rolled back", BREACHED),
    ]
)
"""What the ledger calls a decision, as a person reads it."""


def decisions(matcher: str, *, of_several: bool = False) -> Panel:
    """Return the table of decisions within the time that is shown, and of the last one before it.

    Args:
        matcher: of the rollouts, such as ``rollout="model-canary"``.
        of_several: whether there is a column that says whose decision it was.
    """
    columns = {name: title for name, title in _COLUMNS.items() if of_several or name != "rollout"}
    labels = ", ".join(name for name in columns if name != "Value")
    organized = {
        "excludeByName": {"Time": True},
        "indexByName": {name: index for index, name in enumerate(columns)},
        "renameByName": columns,
    }
    return table(
        "What was decided",
        "The newest decision first: by which guard, upon which value against which limit. By hand: `rollguard"
        " history` says who it was and why. Rolled back: follow the guard's runbook.",
        [query(f"1000 * max by ({labels}) (max_over_time({_DECISION}{{{matcher}}}[$__range]))", table=True)],
        transformations=[
            {"id": "organize", "options": organized},
            {"id": "sortBy", "options": {"sort": [{"field": "When", "desc": True}]}},
        ],
        overrides=list(_cells()),
        size=(24, 8 if of_several else 5),
    )


def _cells() -> Iterator[Override]:
    coloured = {"custom.cellOptions": {"type": "color-background"}, "mappings": _WORDS}
    yield override("When", {"unit": MOMENT, "custom.width": 170})
    yield override("Decision", {**coloured, "custom.width": 150})
    yield override("Led to", {"custom.width": 110})
    yield override("Decided by", {"custom.width": 220})
    wrapped = {"custom.cellOptions": {"type": "auto", "wrapText": True}, "custom.wrapText": True}
    yield override("Evidence", wrapped)  # the former for Grafana 11, the latter since it stands by itself
    yield override("Run", {"custom.width": 60})
