"""Every dashboard of some rollouts, as the files that Grafana provisions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from grafanalib import core as grafana

from rollguard.conventions import ROLLOUT_LABEL
from rollguard.dashboards.grafana import finish
from rollguard.dashboards.kit.base_dashboard import RUNBOOKS
from rollguard.dashboards.overview import fleet, platform
from rollguard.dashboards.overview.rollout import rollout_dashboard
from rollguard.dashboards.systems import canary, features, features_history, forecast, screener, validation
from rollguard.generators import output
from rollguard.generators.dashboards.guard_views import platform_view, rollout_view
from rollguard.generators.rules.platform import RenderedAlert, rendered_alerts
from rollguard.generators.rules.timing import Timing
from rollguard.metric import Metric
from rollguard.spec.rollout import Rollout

SYSTEMS: Mapping[str, Sequence[Callable[[str], grafana.Dashboard]]] = {
    "canary": (canary.canary_dashboard,),
    "screener": (screener.screener_dashboard,),
    "validation": (validation.validation_dashboard,),
    "forecast": (forecast.forecast_dashboard,),
    "features": (features.real_time_dashboard, features_history.history_dashboard),
}
"""The rooms of a watched system, by the kind of its exporter."""

_OURS = ("*.json",)


def dashboard_files(
    rollouts: Sequence[Rollout],
    offered: Callable[[Rollout], Sequence[Metric]],
    scale: float = 1.0,
    runbooks: str = RUNBOOKS,
) -> dict[str, str]:
    """Return every dashboard.

    Args:
        rollouts: checked rollouts.
        offered: returns the metrics of a rollout's exporter.
        scale: what every duration is divided by, as in the rules.
        runbooks: base URL of the runbooks.
    Returns:
        File name → text; the rooms of the systems are there where some rollout's exporter measures one.
    """
    made = all_dashboards(rollouts, offered, scale, runbooks)
    return {f"{one.uid}.json": finish.text(one) for one in made}


def all_dashboards(
    rollouts: Sequence[Rollout],
    offered: Callable[[Rollout], Sequence[Metric]],
    scale: float = 1.0,
    runbooks: str = RUNBOOKS,
) -> Iterator[grafana.Dashboard]:
    """Yield every dashboard as grafanalib's; arguments as for `dashboard_files`."""
    alerts: dict[str, list[RenderedAlert]] = {}
    for alert in rendered_alerts(rollouts, scale):
        alerts.setdefault(alert.labels.get(ROLLOUT_LABEL, ""), []).append(alert)
    yield fleet.fleet_dashboard(runbooks)
    yield platform.platform_dashboard([platform_view(alert) for alert in alerts.get("", ())], runbooks)
    for rollout in rollouts:
        timing = Timing(scale, rollout.scrape.interval)
        view = rollout_view(rollout, offered(rollout), timing, alerts.get(rollout.name, ()))
        yield rollout_dashboard(view, runbooks)
    kinds = {rollout.scrape.exporter.kind for rollout in rollouts if rollout.scrape.exporter}
    for kind, rooms in SYSTEMS.items():
        if kind in kinds:
            yield from (room(runbooks) for room in rooms)


def outdated(files: Mapping[str, str], to: Path) -> list[Path]:
    """Return which dashboards in a folder differ from what would be made, are missing, or are left over."""
    return output.outdated_files(files, to, _OURS)


def write(files: Mapping[str, str], to: Path) -> list[Path]:
    """Write dashboards that are out of date and remove those that are left over; return which."""
    return output.write_files(files, to, _OURS)
