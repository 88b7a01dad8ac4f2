"""The room of one rollout: is it healthy, how close is it, what happened."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from grafanalib import core as grafana

from rollguard.conventions import HEADROOM
from rollguard.dashboards.kit.base_dashboard import RUNBOOKS, dashboard, transitions
from rollguard.dashboards.kit.colours import (
    BASELINE,
    BREACHED,
    GUARD_STATES,
    HEALTHY,
    HELD,
    MEASURED,
    NOTHING,
    YES_IS_GOOD,
    mapped,
    rising,
    steps,
)
from rollguard.dashboards.kit.decision_table import decisions
from rollguard.dashboards.kit.guard_panels import guard_panel
from rollguard.dashboards.kit.headline_panels import guards_firing, headroom_bars, least_headroom
from rollguard.dashboards.kit.layout import Section
from rollguard.dashboards.kit.panels import Panel, fixed, lines, override, query, stat, timeline
from rollguard.dashboards.kit.states import FLAG_STATE_WORDS, STAGE_WORDS, flag_state, guards_over_time, stage
from rollguard.dashboards.kit.units import NUMBER, PERCENT, SECONDS, SHARE
from rollguard.dashboards.kit.views import GuardView, Pair, RolloutView
from rollguard.links import of_rollout

ACTIONS = (
    ("rollback", "Guards that roll back"),
    ("hold", "Guards that hold"),
    ("notify", "Guards that tell"),
)
_BARS = 12
_STALE_SECONDS = 120.0


def rollout_dashboard(view: RolloutView, runbooks: str = RUNBOOKS) -> grafana.Dashboard:
    """Return the dashboard of a rollout.

    Args:
        view: the rollout and its guards.
        runbooks: base URL of the runbooks.
    """
    rollout = view.rollout
    sections = [
        Section("", [*_answers(view), decisions(f'rollout="{rollout.name}"'), *_overview(view)]),
        *_guards(view.guards, rollout.name),
        Section("Canary against baseline", [_pair(pair) for pair in view.pairs], folded=True),
        Section("Decisions and their way outside", list(_decisions(rollout.name)), folded=True),
        Section("Input", list(_input(view)), folded=True),
        Section(
            "Guards of the platform",
            [guard_panel(guard, rollout.name) for guard in view.platform],
            folded=True,
        ),
    ]
    return dashboard(
        of_rollout(rollout.name),
        rollout.name,
        f"{rollout.title}. Owner: {rollout.owner}.",
        sections,
        tags=["rollout"],
        annotations=transitions(f'rollout="{rollout.name}"'),
        runbooks=runbooks,
    )


def _answers(view: RolloutView) -> Iterator[Panel]:
    """Yield the first row: is it healthy, how close is it, how fresh is what we know."""
    name = view.rollout.name
    own = f'rollout="{name}"'
    yield stat(
        "Flag",
        "State of the flag. Rolled back: everybody has the fallback; `rollguard history` says why. Held: a"
        " guard keeps it in its stage. Paused: a person keeps the guards from acting.",
        query(flag_state(own)),
        unit="none",
        mappings=FLAG_STATE_WORDS,
        no_value="control plane silent",
    )
    yield stat(
        "Stage",
        "Where the rollout is. `rollguard status` says what it waits for.",
        query(stage(own), "{{rollout_stage}}"),
        unit="none",
        thresholds=steps(MEASURED),
        text="name",
        no_value="control plane silent",
    )
    yield stat(
        "Share",
        "How much gets the release. What is in the files of targets is under Decisions.",
        query(f"max(rollout_percent{{{own}}})"),
        unit=PERCENT,
        thresholds=steps(BASELINE, (0.001, MEASURED)),
        size=(3, 4),
    )
    yield guards_firing("Guards that fire now. Not 0: see which one below, and follow its runbook.", own)
    yield least_headroom(
        "The guard that is closest to its limit; at 100 % it fires. Look at its panel before the next stage.",
        f"max by (guard) ({HEADROOM}{{{own}}})",
        "{{guard}}",
    )
    if view.rollout.scrape.exporter:
        yield stat(
            "Newest event",
            "Time since the newest event that the exporter read. Old: the application is silent, or its log"
            " is not read.",
            query(f"time() - max(rollguard_exporter_last_event_timestamp_seconds{{{view.targets}}})"),
            unit=SECONDS,
            thresholds=rising(_STALE_SECONDS / 2, _STALE_SECONDS),
        )
    else:
        yield stat(
            "Targets that answer",
            "Share of the scraped targets that answer. Under 100 %: guards may be without data.",
            query(f"avg(up{{{view.targets}}})"),
            unit=SHARE,
            thresholds=steps(BREACHED, (1, HEALTHY)),
        )


def _overview(view: RolloutView) -> Iterator[Panel]:
    name = view.rollout.name
    own = f'rollout="{name}"'
    yield headroom_bars(
        "How close each guard is",
        "The way of each armed guard to its limit, the closest ones first; at 100 % it fires. A guard that is"
        " missing is not armed in this stage, waits for its minimal sample, or has no data.",
        f"topk({_BARS}, max by (guard) ({HEADROOM}{{{own}}}))",
        "{{guard}}",
    )
    yield timeline(
        "What happened",
        "Where the rollout was, and which guards came close or fired. A gap: not armed, waiting, or without"
        " data.",
        [
            query(flag_state(own), "flag"),
            query(stage(own), "stage {{rollout_stage}}"),
            query(guards_over_time(own), "{{guard}}"),
        ],
        mappings=GUARD_STATES,
        overrides=[
            override("flag", {"mappings": FLAG_STATE_WORDS}),
            override("^stage ", {"mappings": STAGE_WORDS}, pattern=True),
        ],
    )


def _guards(guards: Sequence[GuardView], rollout: str) -> Iterator[Section]:
    for action, title in ACTIONS:
        panels = [guard_panel(guard, rollout) for guard in guards if guard.action == action]
        yield Section(title, panels, folded=action != "rollback")


def _pair(pair: Pair) -> Panel:
    return lines(
        pair.legend,
        "What is measured of the release against its baseline. The limits are in the panel of the guard that"
        " compares the two.",
        [query(pair.metric, "measured"), query(pair.baseline, "baseline")],
        unit=pair.unit,
        overrides=[
            override(
                "baseline", {"color": fixed(BASELINE), "custom.lineStyle": {"fill": "dash", "dash": [8, 6]}}
            ),
        ],
    )


def _decisions(rollout: str) -> Iterator[Panel]:
    own = f'rollout="{rollout}"'
    yield stat(
        "Since the last transition",
        "How long the rollout has been where it is. `rollguard history` shows who or what decided, and on"
        " which evidence.",
        query(f"time() - max(rollout_stage_entered_timestamp_seconds{{{own}}})"),
        unit=SECONDS,
        thresholds=steps(MEASURED),
        no_value="never started",
    )
    yield stat(
        "Somebody watches",
        "No: neither heartbeat nor evaluated rules arrive. Are Prometheus and Alertmanager up?",
        query(f"1 - max(rollguard_blind{{{own}}})"),
        unit="none",
        mappings=YES_IS_GOOD,
    )
    yield stat(
        "Left of the hold",
        "What is left of the time that the stage lasts at least. 0: it waits for its criteria, or for"
        " approval; see `rollguard status`.",
        query(f"max(rollout_hold_left_seconds{{{own}}})"),
        unit=SECONDS,
        thresholds=steps(MEASURED),
    )
    yield stat(
        "Waits for a person",
        "A rollback that nobody has acknowledged, or a stage past its deadline. Look at it, then `rollguard"
        " acknowledge`.",
        query(f"max(rollout_unacknowledged{{{own}}}) + max(rollout_overdue{{{own}}})"),
        unit=NUMBER,
        thresholds=rising(1),
    )
    yield stat(
        "Since the last drill",
        "How long ago the way from Prometheus to a flag was last tried. Long, or never: `rollguard drill`.",
        query(f"(time() - max(rollguard_drill_last_success_timestamp_seconds{{{own}}})) or vector(-1)"),
        unit=SECONDS,
        thresholds=rising(30 * 86400.0, 90 * 86400.0),
        mappings=mapped([(-1, "never", HELD)]),
    )
    yield stat(
        "Every target shows the state",
        "Whether all that the rollout writes outside reads back as decided. No: `rollguard status` says which"
        " target.",
        query(f"1 - max(rollguard_target_pending{{{own}}})"),
        unit="none",
        mappings=YES_IS_GOOD,
        no_value="no targets",
    )
    yield lines(
        "Share and rollbacks",
        "The share that gets the release, and the rollbacks by the guard that asked for them.",
        [
            query(f"max(rollout_percent{{{own}}})", "share"),
            query(
                f"sum by (reason) (increase(rollback_total{{{own}}}[$__rate_interval]))",
                "rolled back: {{reason}}",
            ),
        ],
        unit=PERCENT,
        least=0,
        most=100,
        overrides=[
            override("share", {"color": fixed(MEASURED), "custom.lineInterpolation": "stepAfter"}),
            override(
                "^rolled back",
                {"unit": "short", "custom.axisPlacement": "right", "color": fixed(BREACHED)},
                pattern=True,
            ),
        ],
    )
    yield lines(
        "Targets behind the decision",
        "1 while a target does not read back as decided. It stays: the file, service or command refuses; see "
        "`rollguard status`.",
        [query(f"max by (target) (rollguard_target_pending{{{own}}})", "{{target}}")],
        unit="none",
        thresholds=steps(NOTHING, (1, HELD)),
        least=0,
        most=1,
    )


def _input(view: RolloutView) -> Iterator[Panel]:
    its = view.targets
    yield lines(
        "Targets that answer",
        "1 where Prometheus gets an answer. 0: start the exporter again, and read its log.",
        [query(f"min by (instance) (up{{{its}}})", "{{instance}}")],
        unit="none",
        thresholds=steps(BREACHED, (1, NOTHING)),
        least=0,
        most=1,
    )
    if not view.rollout.scrape.exporter:
        return
    yield lines(
        "Behind its source",
        "Time since the exporter read a source to its end. It grows: the source is slow, gone, or too much to"
        " read.",
        [query(f"max by (source) (rollguard_exporter_lag_seconds{{{its}}})", "{{source}}")],
        unit=SECONDS,
        thresholds=steps(NOTHING, (2 * view.rollout.scrape.interval, HELD)),
        least=0,
    )
    yield lines(
        "Sources that can be read",
        "1 where a source can be read. 0: is the path, the address or the password right?",
        [query(f"min by (source) (rollguard_exporter_up{{{its}}})", "{{source}}")],
        unit="none",
        thresholds=steps(BREACHED, (1, NOTHING)),
        least=0,
        most=1,
    )
