"""Grafana's own packages on the shipped dashboards: types by tsc, units and colours by @grafana/data."""

from __future__ import annotations

import json
import math
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.dashboards import Data, panels, shipped
from tests.javascript import MissingNodeError, installed

SOURCE = Path(__file__).parents[2] / "grafana"
PLACE = Path(__file__).parents[3] / ".tools" / "grafana"
TSC = ("--noEmit", "--strict", "--skipLibCheck", "--module", "esnext", "--moduleResolution", "bundler")


@pytest.fixture(scope="session")
def node() -> Callable[[str], list[str]]:
    """Return a function that gives the command of a script; where node is missing, its tests are skipped."""

    def command(script: str) -> list[str]:
        try:
            return installed(script, SOURCE, PLACE)
        except MissingNodeError as error:
            pytest.skip(str(error))

    return command


# Types


def _literals(dashboards: list[Data]) -> Iterator[str]:
    """Yield the lines of a file that says what type each part of some dashboards is of."""
    yield "import type { Defaults, Panels, Row, Whole } from './types';"
    parts: list[tuple[str, Data]] = []
    for dashboard in dashboards:
        parts.append(("Whole", _without_panels(dashboard)))
        rows = [panel for panel in dashboard["panels"] if panel["type"] == "row"]
        parts += [("Row", _without_panels(row)) for row in rows]
        for panel in panels(dashboard):
            kind = f"Panels['{panel['type']}']"
            parts.append((kind, panel))
            overrides = panel["fieldConfig"]["overrides"]
            parts += [(f"Defaults<{kind}>", _as_defaults(one["properties"])) for one in overrides]
    for number, (kind, data) in enumerate(parts):
        yield f"export const part{number}: {kind} = {json.dumps(data)};"


def _as_defaults(properties: list[Data]) -> Data:
    """Return the properties of an override as they would stand in the defaults, whose types are known."""
    found: Data = {}
    for one in properties:
        *above, key = one["id"].split(".")
        place = found
        for name in above:
            place = place.setdefault(name, {})
        place[key] = one["value"]
    if (cell := found.get("custom", {}).get("cellOptions", {})).get("wrapText"):
        found["custom"]["cellOptions"] = {"type": cell["type"]}  # Grafana 11's; the types are those of 13
    return found


def _without_panels(data: Data) -> Data:
    return {key: value for key, value in data.items() if key != "panels"}


def _complaints(node: Callable[[str], list[str]], dashboards: list[Data], name: str) -> list[str]:
    command = node("node_modules/typescript/bin/tsc")
    (PLACE / name).write_text("\n".join(_literals(dashboards)), encoding="utf-8")
    found = subprocess.run([*command, *TSC, name], cwd=PLACE, capture_output=True, text=True, check=False)
    return [line for line in found.stdout.splitlines() if line]


def test_every_key_and_value_is_of_the_type_that_grafana_says(node: Callable[[str], list[str]]) -> None:
    assert _complaints(node, list(shipped().values()), "shipped.ts") == []


def _spoilt(change: Callable[[Data], None]) -> Data:
    dashboard: Data = json.loads(json.dumps(shipped()["rollguard"]))
    change(dashboard)
    return dashboard


def _null_threshold(dashboard: Data) -> None:
    dashboard["panels"][0]["fieldConfig"]["defaults"]["thresholds"]["steps"][0]["value"] = "null"


def _named_datasource(dashboard: Data) -> None:
    dashboard["panels"][0]["datasource"] = "default"


def _dead_key(dashboard: Data) -> None:
    dashboard["hideControls"] = False


def _colour_mode(dashboard: Data) -> None:
    dashboard["panels"][0]["options"]["colorMode"] = "loud"


def _override(dashboard: Data) -> None:
    panel = next(panel for panel in panels(dashboard) if panel["fieldConfig"]["overrides"])
    panel["fieldConfig"]["overrides"][0]["properties"] = [{"id": "custom.colour", "value": "red"}]


def test_what_is_no_key_or_value_of_grafanas_would_be_noticed(node: Callable[[str], list[str]]) -> None:
    changes = [_null_threshold, _named_datasource, _dead_key, _colour_mode, _override]
    of_one = len([*_literals([shipped()["rollguard"]])]) - 1
    told = _complaints(node, [_spoilt(change) for change in changes], "spoilt.ts")
    lines = [int(found[1]) for line in told if (found := re.match(r"spoilt\.ts\((\d+),", line))]
    assert {(line - 2) // of_one for line in lines} == set(range(len(changes)))


# Units and colours


def _run(node: Callable[[str], list[str]], script: str, asked: object) -> Any:
    found = subprocess.run(
        node(script), input=json.dumps(asked), capture_output=True, text=True, check=True, cwd=PLACE
    )
    return json.loads(found.stdout)


def _read(node: Callable[[str], list[str]], fields: list[Data]) -> list[list[dict[str, str]]]:
    shown: list[list[dict[str, str]]] = _run(node, "read.mjs", fields)
    return shown


READ: Mapping[str, Mapping[str, Mapping[float, tuple[str, str]]]] = {
    "rollguard": {
        "Rolled back": {0: ("0", "green"), 1: ("1", "red")},
        "Rollouts": {10: ("10", "blue")},
        "Rolling out": {2: ("2", "blue")},
        "Guards firing": {0: ("0", "green"), 3: ("3", "red")},
        "Closest guard": {0.5: ("50%", "green"), 0.8: ("80%", "yellow"), 1.2: ("120%", "red")},
        "Targets behind": {0: ("0", "green"), 1: ("1", "red")},
        "Worst guard of each rollout": {0.79: ("79%", "green"), 1: ("100%", "yellow"), 2: ("200%", "red")},
    },
    "rollguard-model-canary": {
        "Flag": {
            0: ("disabled", "#8e8e8e"),
            1: ("rolling out", "blue"),
            2: ("enabled", "green"),
            3: ("rolled back", "red"),
            4: ("held", "orange"),
            5: ("paused", "orange"),
        },
        "Stage": {1: ("1", "blue")},
        "Share": {0: ("0%", "#8e8e8e"), 10: ("10%", "blue")},
        "Guards firing": {0: ("0", "green"), 1: ("1", "red")},
        "Closest guard": {0.333: ("33.3%", "green"), 1.01: ("101%", "red")},
        "Newest event": {5: ("5 s", "green"), 90: ("1.50 mins", "yellow"), 600: ("10 mins", "red")},
        "How close each guard is": {0.1: ("10%", "green"), 0.9: ("90%", "yellow")},
        "Since the last transition": {7200: ("2 hours", "blue")},
        "Somebody watches": {1: ("yes", "green"), 0: ("no", "red")},
        "Left of the hold": {5400: ("1.50 hours", "blue")},
        "Waits for a person": {0: ("0", "green"), 1: ("1", "red")},
        "Since the last drill": {
            -1: ("never", "orange"),
            86400: ("1 day", "green"),
            3456000: ("5.71 weeks", "yellow"),
        },
        "Every target shows the state": {1: ("yes", "green"), 0: ("no", "red")},
    },
    "rollguard-platform": {
        "Control plane": {1: ("yes", "green"), 0: ("no", "red")},
        "Prometheus": {1: ("yes", "green"), 0: ("no", "red")},
        "Alertmanager": {1: ("yes", "green"), 0: ("no", "red")},
        "Ledger can be written": {1: ("yes", "green"), 0: ("no", "red")},
        "Since the heartbeat": {
            30: ("30 s", "green"),
            100: ("1.67 mins", "yellow"),
            150: ("2.50 mins", "red"),
        },
        "Targets down": {0: ("0", "green"), 2: ("2", "red")},
        "Age of the newest event": {3: ("3 s", "green"), 300: ("5 mins", "red")},
    },
    "rollguard_screener": {
        "Coverage": {0.79: ("79%", "red"), 0.85: ("85%", "yellow"), 0.95: ("95%", "green")},
        "Ready": {0: ("0%", "red"), 0.1: ("10%", "green"), 0.31: ("31%", "red")},
        "Mean score": {10: ("10", "red"), 25: ("25", "yellow"), 42: ("42", "green"), 75: ("75", "red")},
        "Patterns": {1: ("1", "red"), 2: ("2", "yellow"), 3: ("3", "green")},
        "Top 50 kept": {0.5: ("50%", "red"), 0.7: ("70%", "yellow"), 0.9: ("90%", "green")},
        "Score drift": {0.05: ("0.0500", "green"), 0.2: ("0.200", "yellow"), 0.4: ("0.400", "red")},
    },
    "rollguard_forecast": {
        "Mean divergence": {0.1: ("10%", "green"), 0.2: ("20%", "yellow"), 0.3: ("30%", "red")},
        "Largest divergence": {0.1: ("10%", "green"), 0.25: ("25%", "yellow"), 0.35: ("35%", "red")},
        "Overfitting today": {1: ("1", "green"), 2: ("2", "yellow"), 3: ("3", "red")},
        "Forecasts that succeed": {0.85: ("85%", "red"), 0.92: ("92%", "yellow"), 1: ("100%", "green")},
        "Database": {1: ("yes", "green"), 0: ("no", "red")},
        "Critical errors": {0: ("0", "green"), 1: ("1", "red")},
    },
    "rollguard_features": {
        "Lowest uptime": {0.98: ("98%", "red"), 0.995: ("99.5%", "yellow"), 1: ("100%", "green")},
        "Worst data quality": {0.94: ("94%", "red"), 0.96: ("96%", "green")},
        "Highest error rate": {0: ("0%", "green"), 0.03: ("3%", "yellow"), 0.06: ("6%", "red")},
        "API budget used": {0.5: ("50%", "green"), 0.9: ("90%", "yellow"), 0.97: ("97%", "red")},
        "Oldest market data": {
            20: ("20 s", "green"),
            200: ("3.33 mins", "yellow"),
            301: ("5.02 mins", "red"),
        },
        "Violations today": {0: ("0", "green"), 1: ("1", "red")},
    },
}
"""How a person reads the stats and bars: dashboard → panel → value → text and colour. Rollouts are alike."""


def _stats(dashboard: Data) -> Iterator[Data]:
    yield from (panel for panel in panels(dashboard) if panel["type"] in ("stat", "bargauge", "gauge"))


def _config(panel: Data) -> Data:
    return {**panel["fieldConfig"]["defaults"], "color": {"mode": "thresholds"}}


def test_values_read_as_a_person_expects_them(node: Callable[[str], list[str]]) -> None:
    places = [(uid, title, values) for uid, titles in READ.items() for title, values in titles.items()]
    asked = []
    for uid, title, values in places:
        panel = next(panel for panel in _stats(shipped()[uid]) if panel["title"] == title)
        asked.append({"config": _config(panel), "values": list(values)})
    for (uid, title, values), found in zip(places, _read(node, asked), strict=True):
        assert [(one["text"], one["color"]) for one in found] == list(values.values()), f"{uid}, {title}"


def test_every_stat_and_bar_is_among_them() -> None:
    """Of the rollouts' dashboards, which are alike, one stands for all."""
    rooms = {
        uid: one
        for uid, one in shipped().items()
        if "rollout" not in one["tags"] or uid == "rollguard-model-canary"
    }
    found = {uid: {panel["title"] for panel in _stats(dashboard)} for uid, dashboard in rooms.items()}
    assert {uid: titles for uid, titles in found.items() if titles} == {
        uid: set(one) for uid, one in READ.items()
    }


def test_a_missing_number_is_no_number_of_any_colour(node: Callable[[str], list[str]]) -> None:
    every = [panel for dashboard in shipped().values() for panel in _stats(dashboard)]
    shown = _read(node, [{"config": _config(panel), "values": [None]} for panel in every])
    assert [panel["title"] for panel in every if "noValue" not in panel["fieldConfig"]["defaults"]] == []
    assert not any(one["text"].replace(".", "").isdigit() for found in shown for one in found)


def _limits(panel: Data) -> Any:
    return [step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"][1:]]


def test_no_limit_is_infinite() -> None:
    every = [panel for dashboard in shipped().values() for panel in panels(dashboard)]
    assert all(math.isfinite(limit) for panel in every for limit in _limits(panel))


# Tables


def _answer(value: str, **labels: list[str]) -> list[Data]:
    """Return the answer to a query as Grafana has it: a time, the labels, a value called so."""
    rows = len(next(iter(labels.values())))
    texts = [{"name": name, "type": "string", "values": values} for name, values in labels.items()]
    return [
        {"name": "Time", "type": "time", "values": [0] * rows},
        *texts,
        {"name": value, "type": "number", "values": list(range(rows))},
    ]


def _decided(**more: list[str]) -> list[list[Data]]:
    labels = {"decided_by": ["manual", "Errors"], "decision": ["start", "rollback"], "evidence": ["", "0.07"]}
    return [_answer("Value", **labels, led_to=["canary", "rollback"], run=["1", "1"], **more)]


_NAMES = {"rollout": ["a", "b"]}
TABLES: Mapping[tuple[str, str], tuple[list[list[Data]], Mapping[str, list[Any]]]] = {
    ("rollguard", "Where each rollout is"): (
        [
            _answer("Value #A", **_NAMES),
            _answer("Value #B", **_NAMES, rollout_stage=["ramp", "full"]),
            *(_answer(f"Value #{letter}", **_NAMES) for letter in "CDEF"),
            _answer("Value #G", **_NAMES, dashboard=["of-a", "of-b"]),
        ],
        {
            "Rollout": ["b", "a"],
            "State": [1, 0],
            "Stage": ["full", "ramp"],
            "Share": [1, 0],
            "Closest guard": [1, 0],
            "Since": [1, 0],
            "Rollbacks": [1, 0],
            "Dashboard": ["of-b", "of-a"],
        },
    ),
    ("rollguard", "What was decided"): (
        _decided(rollout=["a", "b"]),
        {
            "When": [1, 0],
            "Rollout": ["b", "a"],
            "Decision": ["rollback", "start"],
            "Led to": ["rollback", "canary"],
            "Decided by": ["Errors", "manual"],
            "Evidence": ["0.07", ""],
            "Run": ["1", "1"],
        },
    ),
    ("rollguard-model-canary", "What was decided"): (
        _decided(),
        {
            "When": [1, 0],
            "Decision": ["rollback", "start"],
            "Led to": ["rollback", "canary"],
            "Decided by": ["Errors", "manual"],
            "Evidence": ["0.07", ""],
            "Run": ["1", "1"],
        },
    ),
}
"""What Prometheus answers to the queries of a table, and its columns as a person sees them."""


def _table(uid: str, title: str) -> Data:
    return next(panel for panel in panels(shipped()[uid]) if panel["title"] == title)


def test_a_tables_columns_are_those_that_a_person_reads(node: Callable[[str], list[str]]) -> None:
    asked = [
        {"answers": answers, "transformations": _table(*place)["transformations"]}
        for place, (answers, _) in TABLES.items()
    ]
    for (place, (_, wanted)), found in zip(TABLES.items(), _run(node, "tables.mjs", asked), strict=True):
        assert [(one["title"], one["values"]) for one in found] == list(wanted.items()), place
        linked = re.findall(r"__data\.fields\.(\w+)", json.dumps(_table(*place)))
        assert set(linked) <= {one["name"] for one in found}, place


def test_every_column_that_is_shown_otherwise_is_there() -> None:
    for place, (_, columns) in TABLES.items():
        overrides = _table(*place)["fieldConfig"]["overrides"]
        assert {one["matcher"]["options"] for one in overrides} <= set(columns), place
