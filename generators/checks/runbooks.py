"""Does the page exist that an alert sends people to?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from rollguard.errors import Problem
from rollguard.generators.checks.context import CheckContext, Finding
from rollguard.generators.rules.platform import rendered_alerts
from rollguard.spec.guards import NoDataGuard

NAME = "runbooks"


def check(material: CheckContext) -> Iterator[Finding]:
    """Yield alerts without a page in the folder of runbooks."""
    folder = material.runbooks
    if not folder.is_dir():
        message = "does not exist, so the pages of alerts cannot be checked."
        hint = "Write a page for each alert there, or name its folder by --runbooks."
        yield Finding(NAME, "note", Problem(folder, 0, "", message, hint))
        return
    missing: dict[Path, None] = {}
    for item in material.checked:
        for guard, rule in item.rules:
            page = _page(folder, rule["annotations"]["runbook_url"])
            if page is None or page.is_file():
                continue
            if isinstance(guard, NoDataGuard):
                missing[page] = None
            else:
                message = f"has no runbook: {page} does not exist."
                hint = "Write what it means, how to check, what the rollback did, how to resume."
                place = (*item.location(guard), "alert")
                yield Finding(NAME, "error", item.problem(place, message, hint))
    for alert in rendered_alerts(material.rollouts, 1.0):
        page = _page(folder, alert.rule()["annotations"]["runbook_url"])
        if page is not None and not page.is_file():
            missing[page] = None
    for page in missing:
        message = "is missing, the page of an alert of Rollguard's own."
        yield Finding(
            NAME, "warning", Problem(page, 0, "", message, "Copy it from Rollguard's docs/runbooks.")
        )


def _page(folder: Path, url: str) -> Path | None:
    """Return the file of a page; None where it is elsewhere on the network."""
    return None if "://" in url else folder / PurePosixPath(url).name
