"""A guard's panel: what it measures, its threshold drawn, and whether it has data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from grafanalib import core as grafana

from rollguard.dashboards.kit.colours import (
    BASELINE,
    BREACHED,
    CLOSE,
    FIRES_AT_ANY,
    HELD,
    MEASURED,
    NOTHING,
    Steps,
    steps,
)
from rollguard.dashboards.kit.panels import Override, Panel, fixed, lines, link, override, query
from rollguard.dashboards.kit.units import NUMBER
from rollguard.dashboards.kit.views import Comparison, GuardView

DOES: Mapping[str, str] = {
    "rollback": "rolls back",
    "hold": "holds the rollout",
    "notify": "only tells people",
}
_NO_DATA: Mapping[str, str] = {**DOES, "ignore": "changes nothing"}
_ABOVE = (">", ">=")
NO_DATA_LEGEND = "no data"
_BAND = {"drawStyle": "bars", "fillOpacity": 40, "lineWidth": 0}


def guard_panel(guard: GuardView, rollout: str) -> Panel:
    """Return the panel of a guard.

    Args:
        guard: what is known of it.
        rollout: the rollout's name.
    """
    shown = [one for one in guard.comparisons if not one.condition]
    return lines(
        guard.name,
        described(guard, rollout),
        list(_targets(guard, rollout)),
        unit=shown[0].unit if shown else NUMBER,
        thresholds=_drawn([one for one in shown if one.limit is not None]),
        overrides=list(_overrides(guard, shown)),
        links=links(guard),
        no_value=f"no data: {_NO_DATA[guard.no_data]}",
    )


def described(guard: GuardView, rollout: str) -> str:
    """Return what a guard is there for, and what to do when it fires."""
    lasting = f" It must last {guard.lasting}." if guard.lasting else ""
    return (
        f"{guard.summary}\n\nWhen {guard.words}, it {DOES[guard.action]} ({guard.severity}).{lasting} "
        f"Armed in: {', '.join(guard.stages)}. Without data it {_NO_DATA[guard.no_data]}.\n\n"
        f"What to do: follow the runbook (the link above), and ask `rollguard status {rollout}`."
    )


def links(guard: GuardView) -> list[dict[str, object]]:
    """Return the links to a guard's runbook and to its rule."""
    return [
        link("Runbook", f"${{runbooks}}/{guard.runbook}.md"),
        link("Rule in Prometheus", f"/alerting/${{datasource:text}}/{guard.alert}/find"),
    ]


def _targets(guard: GuardView, rollout: str) -> Iterator[grafana.Target]:
    asked: set[str] = set()
    for one in guard.comparisons:
        if one.measured not in asked:
            asked.add(one.measured)
            yield query(one.measured, _legend(one))
        if one.moving and one.moving not in asked:
            asked.add(one.moving)
            yield query(one.moving, one.moving_legend)
    if guard.watchers:
        names = "|".join(guard.watchers)
        yield query(
            f'max(ALERTS{{rollout="{rollout}",guard=~"{names}",alertstate="firing"}}) or vector(0)',
            NO_DATA_LEGEND,
        )


def _legend(one: Comparison) -> str:
    if not one.condition or one.limit is None:
        return one.legend
    return f"{one.legend} (counts {one.operator} {one.limit:g})"


def _drawn(limited: Sequence[Comparison]) -> Steps | None:
    """Return the limits as thresholds: what lies beyond one is coloured, red where it is beyond all."""
    lower = sorted({one.limit for one in limited if one.limit is not None and one.operator in ("<", "<=")})
    upper = sorted({one.limit for one in limited if one.limit is not None and one.operator in _ABOVE})
    exact = sorted({one.limit for one in limited if one.limit is not None and one.operator == "=="})
    if not lower and not upper and not exact:
        return None
    first = BREACHED if lower else NOTHING
    rest = [step for value in exact for step in ((value, BREACHED), (value + FIRES_AT_ANY, NOTHING))]
    rest += [(value, CLOSE) for value in lower[:-1]] + [(value, NOTHING) for value in lower[-1:]]
    rest += [(value, CLOSE) for value in upper[:-1]] + [(value, BREACHED) for value in upper[-1:]]
    return steps(first, *sorted(rest))


def _overrides(guard: GuardView, shown: Sequence[Comparison]) -> Iterator[Override]:
    if len(shown) == 1 and "{{" not in shown[0].legend:
        yield override(shown[0].legend, {"color": fixed(MEASURED)})
    if any(one.moving for one in guard.comparisons):
        dashed = {"fill": "dash", "dash": [8, 6]}
        yield override("^limit of ", {"color": fixed(BREACHED), "custom.lineStyle": dashed}, pattern=True)
    for one in guard.comparisons:
        if one.condition and one.measured not in {other.measured for other in shown}:
            aside = {"color": fixed(BASELINE), "unit": one.unit, "custom.axisPlacement": "right"}
            yield override(_legend(one), aside)
    if guard.watchers:
        band = {f"custom.{key}": value for key, value in _BAND.items()}
        hidden = {"custom.axisPlacement": "hidden", "min": 0, "max": 1, "unit": "none"}
        yield override(NO_DATA_LEGEND, {"color": fixed(HELD), **band, **hidden})
