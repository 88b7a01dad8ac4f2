"""Does every guard and criterion say whose values it means, where a metric tells exposed from unexposed?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rollguard.conventions import VARIANT_LABEL
from rollguard.generators.checks.context import CheckContext, Finding, LoadedRollout
from rollguard.generators.checks.metrics import known_series, uses
from rollguard.generators.known_metrics import SelectableSeries
from rollguard.yamlfile import Location

NAME = "variants"


def check(material: CheckContext) -> Iterator[Finding]:
    """Yield selections that add up, or mix, those who have the feature and those who do not."""
    for item in material.checked:
        known = known_series(item)
        if known is None:
            continue
        for metric, location in sorted(set(_of_every_variant(item, known)), key=str):
            message = f"reads {metric} of every {VARIANT_LABEL}: the exposed are lost among the others."
            hint = f'Name the one that is meant, such as {metric}{{{VARIANT_LABEL}="exposed"}}.'
            yield Finding(NAME, "warning", item.problem(item.holding(location, metric), message, hint))


def _of_every_variant(
    item: LoadedRollout, known: Mapping[str, SelectableSeries]
) -> Iterator[tuple[str, Location]]:
    for used in uses(item):
        for read in used.reading.series:
            found = known.get(read.metric)
            if found and VARIANT_LABEL in found.labels and VARIANT_LABEL not in read.labels:
                yield found.metric.name, used.location
