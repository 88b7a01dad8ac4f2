"""A chart of simulated rollouts as SVG: the share taken back, and in full, over time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

import numpy as np

from rollguard.durations import render
from rollguard.exporters.measures.betting import Array
from rollguard.simulation.results import Summary
from rollguard.simulation.runs import Scenario

_WIDTH, _HEIGHT = 760, 420
_LEFT, _TOP, _RIGHT, _BOTTOM = 56, 48, 216, 44
_COLOURS = ("#1b7f4b", "#3b6fb6", "#b8860b", "#c2571a", "#a61c3c", "#6a3d9a", "#17808a", "#7a5230", "#444444")


def named(scenario: Scenario) -> str:
    """Return a release in a few words."""
    if not scenario.worse:
        return "healthy"
    points = f"{100 * scenario.worse:g} points worse"
    return f"{points} {'at once' if not scenario.begins else 'after ' + render(round(scenario.begins))}"


def svg(title: str, summaries: Sequence[Summary]) -> str:
    """Return the chart.

    Args:
        title: over it.
        summaries: one line for each; of the first, which is healthy, the share in full, too.
    """
    hours = max(one.seconds for one in summaries) / 3600
    lines = [(named(one.scenario) + ", taken back", one.back_at, "") for one in summaries]
    lines.insert(1, (named(summaries[0].scenario) + ", in full", summaries[0].full_at, "6 4"))
    parts = [*_frame(title, hours), *_lines(lines, hours)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'font-family="sans-serif" font-size="12">\n<title>{escape(title)}</title>\n'
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _x(hour: float, hours: float) -> float:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * hour / hours


def _y(share: float) -> float:
    return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - share)


def _frame(title: str, hours: float) -> Iterator[str]:
    yield f'<text x="{_LEFT}" y="24" font-size="15">{escape(title)}</text>'
    for percent in (0, 25, 50, 75, 100):
        y, end = _y(percent / 100), _x(hours, hours)
        yield f'<path d="M{_LEFT} {y:.1f}H{end:.1f}" stroke="#dddddd" fill="none"/>'
        yield f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{percent} %</text>'
    for part in range(5):
        hour, y = hours * part / 4, _HEIGHT - _BOTTOM + 20
        yield f'<text x="{_x(hour, hours):.1f}" y="{y}" text-anchor="middle">{hour:g} h</text>'


def _lines(lines: Sequence[tuple[str, Array, str]], hours: float) -> Iterator[str]:
    for number, (name, times, dashes) in enumerate(lines):
        colour = _COLOURS[number % len(_COLOURS)]
        dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
        yield f'<path d="{_path(times, hours)}" stroke="{colour}" stroke-width="2" fill="none"{dashed}/>'
        x, y = _WIDTH - _RIGHT + 16, _TOP + 8 + 20 * number
        yield f'<path d="M{x} {y}h20" stroke="{colour}" stroke-width="2"{dashed}/>'
        yield f'<text x="{x + 26}" y="{y + 4}">{escape(name)}</text>'


def _path(times: Array, hours: float) -> str:
    """Return the share of rollouts to which something has happened, as steps."""
    known = np.sort(times[~np.isnan(times)]) / 3600
    moments = np.linspace(0.0, hours, 241)
    shares = np.searchsorted(known, moments, side="right") / len(times)
    return "M" + "L".join(
        f"{_x(at, hours):.1f} {_y(share):.1f}" for at, share in zip(moments, shares, strict=True)
    )
