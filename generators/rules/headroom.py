"""Recording rules of how close each guard is to its limit: what the dashboards sort by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rollguard.conventions import HEADROOM
from rollguard.generators.promql import measures
from rollguard.generators.promql.comparisons import comparisons, headroom, parsed
from rollguard.generators.promql.syntax import PromQLError
from rollguard.generators.rules.alerting import RULES_IN_A_GROUP, rendered_rules
from rollguard.generators.rules.timing import Timing
from rollguard.spec.rollout import Rollout


def headroom_file(rollout: Rollout, rules: Mapping[str, Any], timing: Timing) -> dict[str, Any]:
    """Return the rules that record how close a rollout's guards are.

    Args:
        rollout: a checked rollout.
        rules: its alerting rules, as `rollguard.generators.rules.alerting.rule_file` returns them.
        timing: interval and scale.
    Returns:
        The content of ``<rollout>.closeness.rules.yml``: groups of at most 20 rules, one for each comparison
        of each guard. A guard that is not armed, waits for its minimal sample or has no data has no sample.
    """
    recorded = list(_rules(rules))
    chunks = [
        recorded[start : start + RULES_IN_A_GROUP] for start in range(0, len(recorded), RULES_IN_A_GROUP)
    ]
    return {
        "groups": [
            {
                "name": f"{rollout.name}-closeness-{number}",
                "interval": timing.text(timing.base_interval),
                "rules": chunk,
            }
            for number, chunk in enumerate(chunks, 1)
        ]
    }


def _rules(rules: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for rule in rendered_rules(rules):
        if "no_data" in rule["annotations"]:
            continue  # data are there or not
        try:
            tree = parsed(rule["expr"])
        except PromQLError:
            continue  # promtool says of the alert itself what is wrong
        compared = [one for one in comparisons(tree) if not one.condition]
        for number, one in enumerate(compared, 1):
            share = measures.unit(one.measured, {}) == "ratio"
            whose = {label: rule["labels"][label] for label in ("rollout", "guard")}
            yield {
                "record": HEADROOM,
                "expr": f"max by (rollout) ({headroom(tree, one, of_one=share)})",
                "labels": {**whose, "comparison": str(number)},
            }
