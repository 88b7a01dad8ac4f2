"""The page at `/`: how it goes with an exporter, and what it offers, for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape

from rollguard.exporters.exposition.families import Family
from rollguard.exporters.runtime.intake import REJECTED

_PAGE = """<!doctype html>
<html lang="en"><head><title>{title}</title><style>
body {{ font-family: sans-serif; margin: 2em; }} td {{ padding: 0 1em 0 0; vertical-align: top; }}
</style></head>
<body><h1>{title}</h1>
<p><a href="/metrics">Metrics</a></p>
<p>{behind}</p>
<ul>{status}</ul>
<table>{rows}</table>
</body></html>
"""


def page(title: str, behind: str, status: Iterable[str], families: Iterable[Family]) -> str:
    """Return the page as HTML.

    Args:
        title: of the exporter.
        behind: why the numbers are not yet whole; empty once they are.
        status: lines about its sources.
        families: its metrics as of now.
    """
    found = list(families)
    lines = [*status, *_passed_over(found)]
    return _PAGE.format(
        title=escape(title),
        behind=escape(behind),
        status="".join(f"<li>{escape(line)}</li>" for line in lines),
        rows="".join(_row(family) for family in found),
    )


def _passed_over(families: Iterable[Family]) -> Iterator[str]:
    for family in families:
        if family.metric == REJECTED:
            counts = [f"{value:.0f} {reason}" for (reason,), value in family.samples.items() if value]
            yield f"passed over: {', '.join(counts) or 'nothing'}"


def _row(family: Family) -> str:
    metric = family.metric
    name = metric.name + (f"{{{','.join(metric.labels)}}}" if metric.labels else "")
    series = sum(value is not None for value in family.samples.values())
    cells = (name, metric.type, str(series) if series else "silent", metric.help)
    return f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>\n"
