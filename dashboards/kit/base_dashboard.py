"""What every dashboard has around its panels: variables, annotations, links, tags."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from grafanalib import core as grafana

from rollguard.dashboards.kit.colours import BREACHED, HELD, MEASURED
from rollguard.dashboards.kit.layout import Section, arranged

TAG = "rollguard"
RUNBOOKS = "docs/runbooks"
"""Where the runbooks are, unless a caller says otherwise; the rules' annotations say the same."""

_REFRESH_ON_TIME_CHANGE = 2


def dashboard(
    uid: str,
    title: str,
    description: str,
    sections: Sequence[Section],
    *,
    tags: Sequence[str] = (),
    variables: Sequence[grafana.Template] = (),
    annotations: Sequence[dict[str, Any]] = (),
    runbooks: str = RUNBOOKS,
    start: str = "now-6h",
) -> grafana.Dashboard:
    """Return a dashboard.

    Args:
        uid: its address, ``/d/<uid>``.
        sections: from top to bottom.
        tags: beside `TAG`.
        variables: beside the data source and the place of the runbooks.
        annotations: events that every panel shows.
        runbooks: base URL of the runbooks.
        start: from when on it shows the data at first.
    """
    return grafana.Dashboard(
        uid=uid,
        title=title,
        description=f"{description}\n\nMade by `rollguard dashboards generate`: change that, not this.",
        tags=[TAG, *tags],
        editable=False,
        graphTooltip=grafana.GRAPH_TOOLTIP_MODE_SHARED_CROSSHAIR,
        timezone="browser",
        time=grafana.Time(start, "now"),
        refresh="30s",
        links=[
            grafana.DashboardLink(title="Rollguard", tags=[TAG], asDropdown=True, includeVars=False),
        ],
        templating=grafana.Templating([_datasource(), _constant("runbooks", runbooks), *variables]),
        annotations=grafana.Annotations(list(annotations)),
        panels=arranged(sections),
    )


def variable(name: str, label: str, values: str, *, several: bool = True) -> grafana.Template:
    """Return a variable that a person chooses from the values of a label.

    Args:
        name: as queries name it.
        label: as a person reads it.
        values: such as ``label_values(winrate_rolling, route)``.
        several: more than one may be chosen, and at first all are.
    """
    every = {"default": "$__all", "allValue": ".+"} if several else {}
    return grafana.Template(
        name=name,
        label=label,
        query=values,
        refresh=_REFRESH_ON_TIME_CHANGE,
        includeAll=several,
        multi=several,
        **every,
    )


def transitions(rollout: str) -> list[dict[str, Any]]:
    """Return the annotations of rollouts: transitions, rollbacks and firing guards.

    Args:
        rollout: matcher of the rollouts, such as ``rollout="model-canary"``.
    """
    entered = f"on (rollout) group_left rollout_stage_entered_timestamp_seconds{{{rollout}}} * 1000"
    at = 'rollout_stage{{{},rollout_stage{}"rollback"}} == 1'
    return [
        _annotation(
            "Transitions",
            f"({at.format(rollout, '!=')}) * {entered}",
            MEASURED,
            "{{rollout}}: {{rollout_stage}}",
            value_is_time=True,
        ),
        _annotation(
            "Rollbacks",
            f"({at.format(rollout, '=')}) * {entered}",
            BREACHED,
            "{{rollout}}: rolled back",
            value_is_time=True,
        ),
        _annotation(
            "Guards firing",
            f'ALERTS{{{rollout},guard!="",alertstate="firing"}}',
            HELD,
            "{{rollout}}: {{guard}}",
        ),
    ]


def _annotation(
    name: str, expr: str, colour: str, title: str, *, value_is_time: bool = False
) -> dict[str, Any]:
    return {
        "name": name,
        "enable": True,
        "iconColor": colour,
        "target": {"expr": expr, "refId": name},
        "expr": expr,
        "titleFormat": title,
        "useValueForTime": value_is_time,
    }


def _datasource() -> grafana.Template:
    return grafana.Template(name="datasource", label="Data source", type="datasource", query="prometheus")


def _constant(name: str, value: str) -> grafana.Template:
    return grafana.Template(
        name=name,
        label=name.capitalize(),
        type="constant",
        query=value,
        default=value,
        hide=grafana.HIDE_VARIABLE,
    )
