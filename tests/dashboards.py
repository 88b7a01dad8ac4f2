"""The shipped dashboards as data, for tests: panels, queries and what their variables stand for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

from tests.factories import ROOT

FOLDER = ROOT / "dashboards" / "generated"

Data = dict[str, Any]


class Query(NamedTuple):
    """One query of a dashboard: of a panel's target, or of an annotation.

    Args:
        dashboard: uid.
        place: title of the panel, or name of the annotation.
        ref: refId of the target.
        expr: as it stands, variables and all.
        legend: name of the lines, or an annotation's title.
        instant: whether only the newest value is asked for.
        linked: labels that the links of its lines name.
    """

    dashboard: str
    place: str
    ref: str
    expr: str
    legend: str
    instant: bool
    linked: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """Where it is, in a few words."""
        return f"{self.dashboard} / {self.place} / {self.ref}"


@cache
def shipped() -> Mapping[str, Data]:
    """Return the committed dashboards by uid."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))]
    return {one["uid"]: one for one in found}


def panels(dashboard: Data) -> Iterator[Data]:
    """Yield the panels of a dashboard, those of folded rows too, without the rows."""
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            yield from panel["panels"]
        else:
            yield panel


def queries(dashboard: Data) -> Iterator[Query]:
    """Yield every query of a dashboard."""
    uid = dashboard["uid"]
    for panel in panels(dashboard):
        linked = frozenset(re.findall(r"__field\.labels\.(\w+)", json.dumps(panel)))
        for target in panel["targets"]:
            yield Query(
                uid,
                panel["title"],
                target["refId"],
                target["expr"],
                target["legendFormat"],
                target["instant"],
                linked,
            )
    for one in dashboard["annotations"]["list"]:
        yield Query(uid, one["name"], "annotation", one["expr"], one["titleFormat"], False)


def resolved(expr: str, values: Mapping[str, str]) -> str:
    """Return a query with its variables replaced; the longer names first, as one may begin with another."""
    for name in sorted(values, key=len, reverse=True):
        expr = expr.replace(f"${name}", values[name])
    return expr


def variables(dashboard: Data) -> dict[str, str]:
    """Return a value for each variable of a dashboard, for those who only parse its queries."""
    names = {one["name"]: "x" for one in dashboard["templating"]["list"]}
    return {**names, "__rate_interval": "1m", "__range": "6h"}
