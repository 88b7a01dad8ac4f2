"""Are alerts, groups and recording rules as users of Prometheus expect them?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rollguard.conventions import PLATFORM, RULES_INFO
from rollguard.errors import Problem
from rollguard.generators.checks.context import CheckContext, Finding, LoadedRollout
from rollguard.generators.rules.alerting import RULES_IN_A_GROUP, rule_file
from rollguard.generators.rules.platform import platform_rules
from rollguard.generators.rules.timing import Timing
from rollguard.spec.guards import NoDataGuard
from rollguard.spec.rollout import Guard

NAME = "conventions"
LONGEST_ALERT = 40
SEVERITIES = ("critical", "warning", "info")
_ALERT = re.compile(r"[A-Z][A-Za-z0-9]*")
_RECORD = re.compile(r"[a-zA-Z_]\w*:[a-zA-Z_]\w*:[a-zA-Z_]\w*")


def check(material: CheckContext) -> Iterator[Finding]:
    """Yield names, labels and annotations that break a convention."""
    for item in material.checked:
        rendered = rule_file(item.rollout, Timing(1.0, item.rollout.scrape.interval))
        for words in (*_groups(rendered), *_records(rendered)):
            yield Finding(NAME, "error", item.problem(("guards",), words))
        seen: set[tuple[Any, ...]] = set()
        for guard, rule in item.rules:
            yield from _rule(item, guard, rule)
            identity = (rule["alert"], *sorted(rule["labels"].items()))
            if identity in seen:
                message = f"is {rule['alert']} with the labels of an earlier guard."
                yield Finding(NAME, "error", item.problem((*item.location(guard), "alert"), message))
            seen.add(identity)
    for words in _groups(platform_rules(material.rollouts, 1.0)):
        yield Finding(NAME, "error", Problem(Path(PLATFORM), 0, "", words))


def _rule(item: LoadedRollout, guard: Guard, rule: Mapping[str, Any]) -> Iterator[Finding]:
    here = item.location(guard)
    derived = isinstance(guard, NoDataGuard)
    for key, words in broken(rule):
        place = here if derived or key not in ("alert", "severity", "summary") else (*here, key)
        yield Finding(NAME, "error", item.problem(place, words))


def broken(rule: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield which conventions an alerting rule breaks: the key, and what is wrong.

    Args:
        rule: as rendered.
    """
    name, labels, texts = rule["alert"], rule["labels"], rule["annotations"]
    if not _ALERT.fullmatch(name) or len(name) > LONGEST_ALERT:
        yield "alert", f"is {name}, expected CamelCase of at most {LONGEST_ALERT} letters and digits."
    if labels.get("severity") not in SEVERITIES:
        yield "severity", f"is {labels.get('severity')}, expected one of {', '.join(SEVERITIES)}."
    summary = texts.get("summary", "")
    if not summary[:1].isupper() or not summary.endswith(".") or "{{" in summary:
        yield "summary", f"is {summary or 'empty'}, expected a sentence: a capital, a full stop, no template."
    if "{{" not in texts.get("description", ""):
        yield "description", "has no template, expected one that shows the value."
    for key in ("runbook_url",):
        if not texts.get(key):
            yield key, "is missing, expected the address of a page."


def _groups(content: Mapping[str, Any]) -> Iterator[str]:
    for group in content["groups"]:
        if len(group["rules"]) > RULES_IN_A_GROUP:
            count, most = len(group["rules"]), RULES_IN_A_GROUP
            yield f"render to {count} rules in the group {group['name']}, expected {most} at most."


def _records(content: Mapping[str, Any]) -> Iterator[str]:
    for group in content["groups"]:
        for rule in group["rules"]:
            name = rule.get("record", RULES_INFO)
            if name != RULES_INFO and not _RECORD.fullmatch(name):
                yield f"record {name}, expected level:metric:operations."
