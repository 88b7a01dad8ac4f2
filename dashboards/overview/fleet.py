"""The room of all rollouts: where each is, how close its worst guard, what was rolled back and how fast."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from grafanalib import core as grafana

from rollguard.conventions import HEADROOM, RULES_INFO
from rollguard.dashboards.kit.base_dashboard import RUNBOOKS, dashboard, transitions, variable
from rollguard.dashboards.kit.colours import (
    BREACHED,
    HEADROOM_STEPS,
    HEALTHY,
    MEASURED,
    NOTHING,
    rising,
    steps,
)
from rollguard.dashboards.kit.decision_table import decisions
from rollguard.dashboards.kit.headline_panels import guards_firing, headroom_bars, least_headroom
from rollguard.dashboards.kit.layout import Section
from rollguard.dashboards.kit.panels import Panel, lines, link, override, query, stat, table, timeline
from rollguard.dashboards.kit.states import FLAG_STATE_WORDS, flag_state
from rollguard.dashboards.kit.units import NUMBER, SECONDS, SHARE
from rollguard.links import FLEET

_ITS = 'rollout=~"$rollout"'
_TO_ROLLOUT = [link("Rollout", "/d/${__field.labels.dashboard}")]
_ADDRESSES = f"max by (rollout, dashboard) ({RULES_INFO}{{{_ITS}}})"
"""The rules of a rollout say where its dashboard is."""

_WORST = f"max by (rollout) ({HEADROOM}{{{_ITS}}}) * on (rollout) group_left (dashboard) {_ADDRESSES}"

_OBJECTIVE_SECONDS = 1.0
"""A notification should be on disk and in the flag within so long."""


def fleet_dashboard(runbooks: str = RUNBOOKS) -> grafana.Dashboard:
    """Return the dashboard of all rollouts; it is the same whatever rollouts there are."""
    sections = [
        Section("", [*_answers(), _rollouts(), *_overview()]),
        Section("What was decided, and how long it took", [decisions(_ITS, of_several=True), *_rollbacks()]),
    ]
    return dashboard(
        FLEET,
        "All rollouts",
        "Every rollout at a glance: which one needs somebody now?",
        sections,
        tags=["fleet"],
        variables=[variable("rollout", "Rollout", "label_values(rollout_flag_state, rollout)")],
        annotations=transitions(_ITS),
        runbooks=runbooks,
    )


def _answers() -> Iterator[Panel]:
    in_state = 'count(max by (rollout) (rollout_flag_state{{{},state="{}"}}) == 1) or vector(0)'
    yield stat(
        "Rollouts",
        "Rollouts that the control plane has loaded. Fewer than files: `rollguard check` says which is"
        " broken.",
        query(f"count(count by (rollout) (rollout_flag_state{{{_ITS}}}))"),
        unit=NUMBER,
        thresholds=steps(MEASURED),
        size=(3, 4),
        no_value="control plane silent",
    )
    yield stat(
        "Rolling out",
        "Rollouts that are in a stage now.",
        query(in_state.format(_ITS, "ROLLING_OUT")),
        unit=NUMBER,
        thresholds=steps(MEASURED),
    )
    yield stat(
        "Rolled back",
        "Rollouts that a guard or a person has rolled back. `rollguard history` says why; a new start needs a"
        " person.",
        query(in_state.format(_ITS, "ROLLBACK")),
        unit=NUMBER,
        thresholds=rising(1),
    )
    yield guards_firing(
        "Guards that fire now, over all rollouts. Not 0: open the rollout that has one.", _ITS
    )
    yield least_headroom(
        "The rollout whose worst guard is closest to its limit; at 100 % it fires.",
        _WORST,
        "{{rollout}}",
        _TO_ROLLOUT,
    )
    yield stat(
        "Targets behind",
        "Files, services and commands that do not read back as decided. Not 0: `rollguard status` says"
        " which.",
        query(f"sum(max by (rollout, target) (rollguard_target_pending{{{_ITS}}})) or vector(0)"),
        unit=NUMBER,
        thresholds=rising(1),
    )


_COLUMNS = {
    "A": "State",
    "B": "Stage",
    "C": "Share",
    "D": "Closest guard",
    "E": "Since",
    "F": "Rollbacks",
}


def _rollouts() -> Panel:
    """Return the table of rollouts: a row for each, with a link to its room."""
    asked = {
        "A": flag_state(_ITS),
        "B": f"max by (rollout, rollout_stage) (rollout_stage{{{_ITS}}} == 1)",
        "C": f"max by (rollout) (rollout_percent{{{_ITS}}})",
        "D": f"max by (rollout) ({HEADROOM}{{{_ITS}}})",
        "E": f"time() - max by (rollout) (rollout_stage_entered_timestamp_seconds{{{_ITS}}})",
        "F": f"sum by (rollout) (max by (rollout, reason) (rollback_total{{{_ITS}}}))",
        "G": _ADDRESSES,
    }
    return table(
        "Where each rollout is",
        "A row for each rollout, the closest to its limit first. Follow its name to its own dashboard.",
        [query(expr, table=True) for expr in asked.values()],
        transformations=[
            {"id": "joinByField", "options": {"byField": "rollout", "mode": "outer"}},
            {"id": "organize", "options": _organized()},
            {"id": "sortBy", "options": {"sort": [{"field": "Closest guard", "desc": True}]}},
        ],
        overrides=list(_cells()),
    )


def _organized() -> dict[str, Any]:
    """Return which columns are shown, in which order and by which names."""
    hidden = ["Value #B", "Value #G", *(f"Time {number}" for number in range(1, 8))]
    order = ["rollout", "Value #A", "rollout_stage", *(f"Value #{letter}" for letter in "CDEF"), "dashboard"]
    names = {f"Value #{letter}": name for letter, name in _COLUMNS.items() if letter != "B"}
    return {
        "excludeByName": dict.fromkeys(hidden, True),
        "indexByName": {name: index for index, name in enumerate(order)},
        "renameByName": {
            **names,
            "rollout": "Rollout",
            "rollout_stage": "Stage",
            "dashboard": "Dashboard",
        },
    }


def _cells() -> Iterator[dict[str, Any]]:
    to_dashboard = [link("Its dashboard", "/d/${__data.fields.dashboard}")]
    yield override("Rollout", {"links": to_dashboard})
    yield override("Dashboard", {"links": to_dashboard})
    coloured = {"custom.cellOptions": {"type": "color-background"}}
    yield override("State", {**coloured, "mappings": FLAG_STATE_WORDS})
    yield override("Share", {"unit": "percent"})
    closeness = {"mode": "absolute", "steps": HEADROOM_STEPS}
    yield override("Closest guard", {**coloured, "unit": SHARE, "thresholds": closeness})
    yield override("Since", {"unit": SECONDS})


def _overview() -> Iterator[Panel]:
    yield headroom_bars(
        "Worst guard of each rollout",
        "How close the worst armed guard of each rollout is to its limit; at 100 % it fires.",
        _WORST,
        "{{rollout}}",
        _TO_ROLLOUT,
    )
    yield timeline(
        "State of each rollout",
        "What the flag of each rollout was, and when it changed.",
        [query(flag_state(_ITS), "{{rollout}}")],
        mappings=FLAG_STATE_WORDS,
    )


def _rollbacks() -> Iterator[Panel]:
    yield lines(
        "Rollbacks",
        "Rollbacks by rollout and by the guard that asked for them; `manual` is a person.",
        [
            query(
                f"sum by (rollout, reason) (increase(rollback_total{{{_ITS}}}[$__rate_interval]))",
                "{{rollout}}: {{reason}}",
            )
        ],
        unit=NUMBER,
        bars=True,
        least=0,
    )
    yield lines(
        "Breach to flip",
        "From a notification's arrival to the decision in the served flag, and to the last target read back:"
        " half of them are faster than the first number, 99 of 100 faster than the second. Slow: look at the"
        " disk of the ledger.",
        [
            query(_quantile(share, "rollguard_decision_duration_seconds"), f"flag, {words}")
            for share, words in ((0.5, "half"), (0.99, "99 %"))
        ]
        + [
            query(_quantile(share, "rollguard_flip_duration_seconds"), f"targets, {words}")
            for share, words in ((0.5, "half"), (0.99, "99 %"))
        ],
        unit=SECONDS,
        thresholds=steps(NOTHING, (_OBJECTIVE_SECONDS, BREACHED)),
        least=0,
    )
    yield lines(
        "Transitions",
        "Starts, promotions and rollbacks of each rollout.",
        [query(f"sum by (rollout) (increase(mode_switch_total{{{_ITS}}}[$__rate_interval]))", "{{rollout}}")],
        unit=NUMBER,
        thresholds=steps(HEALTHY),
        drawn="off",
        bars=True,
        least=0,
    )


def _quantile(share: float, histogram: str) -> str:
    return f"histogram_quantile({share:g}, sum by (le) (rate({histogram}_bucket[$__rate_interval])))"
