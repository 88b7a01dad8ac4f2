"""What a rollout file says of its exporter, as options of `rollguard export`."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeAlias

from rollguard import durations
from rollguard.spec.exporter import Exporter
from rollguard.spec.fields import Model
from rollguard.spec.rollout import Scrape

_PATHS = ("events", "reference", "log", "baseline", "env", "metrics")
_DURATIONS = ("window",)
STAGED = ("canary", "features")
"""Exporters that count by arm, and ask for the stages' percents."""
_SQLITE = "sqlite:///"
_MADE = {
    "reference": ("drift is not measured", ("events",)),
    "baseline": ("score drift is not measured", ("log", "database")),
}
"""Files that `rollguard baseline save` makes: without one, what is not measured; and what it is made from."""


ROLLGUARD = (sys.executable, "-Pm", "rollguard")
"""Begins every command of a child; by -P it imports nothing from the working directory."""

Scaled: TypeAlias = Callable[[float], float]
"""What becomes of a duration, in seconds, where time is scaled."""


def command(
    scrape: Scrape, root: Path, scaled: Scaled, note: Callable[[str], None], stages: Iterable[Path] = ()
) -> list[str]:
    """Return the command of an exporter.

    Args:
        scrape: with an exporter, which listens on the first of the targets.
        stages: files of the rollouts that it measures.
        root: where relative paths start.
        scaled: told each duration.
        note: told what will not be measured.
    """
    exporter = scrape.exporter
    assert exporter is not None
    start = [*ROLLGUARD, "export", exporter.kind, "--listen", scrape.targets[0]]
    found = options(exporter, root, scaled, note)
    files = stages if exporter.kind in STAGED else ()
    given = [*found, *(("stages", str(file)) for file in files)]
    return [*start, *(part for name, text in given for part in (f"--{name}", text))]


def options(
    exporter: Exporter, root: Path, scaled: Scaled, note: Callable[[str], None]
) -> Iterator[tuple[str, str]]:
    """Yield the options of an exporter, by name.

    Args:
        exporter: as the rollout file has it; what it says of bins is taken from the file itself.
        root: where relative paths start.
        scaled: told each duration.
        note: told what will not be measured.
    """
    for name, value in exporter.options:
        if value is None or isinstance(value, Model):
            continue
        text = str(value)
        if name in _PATHS and "://" not in text:
            text = str(root / text)
        elif name in _DURATIONS:
            text = durations.render(scaled(value))
        elif text.startswith(_SQLITE):
            text = _SQLITE + str(root / text.removeprefix(_SQLITE))
        if name in _MADE and not Path(text).exists():
            note(_missing(exporter, name, text))
            continue
        yield name, text


def unset_variable(exporter: Exporter) -> str:
    """Return the environment variable that should hold its database's URL and is not set; else nothing."""
    named = re.fullmatch(r"\$\{(\w+)\}", getattr(exporter.options, "database", None) or "")
    return named[1] if named and not os.environ.get(named[1]) else ""


def _missing(exporter: Exporter, name: str, path: str) -> str:
    lost, sources = _MADE[name]
    given = {one: getattr(exporter.options, one) for one in sources} | {
        "out": getattr(exporter.options, name)
    }
    made = " ".join(f"--{option} {shlex.quote(str(value))}" for option, value in given.items() if value)
    return f"{path} is missing: {lost}. Make it: rollguard baseline save {made}"
