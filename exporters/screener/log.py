"""A screener's lines in the log of its Celery workers, whatever stands before them on the line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import msgspec
import numpy as np

from rollguard.exporters.measures.distances import Array

DISABLED = b"SetupEngine scanner disabled via SETUP_ENGINE_ENABLED=false"
_TIMING_MARK = b"SE timing "
_SCAN_MARK = b"SE score distribution ["
_MS = rb"(?:0|[1-9]\d{0,8})(?:\.\d{1,9})?ms"
_COUNT = rb"(?:0|[1-9]\d{0,8})"
_TIMING = re.compile(
    rb"SE timing [^\s:]{1,40}: prep=(" + _MS + rb" detectors=" + _MS + rb" readiness=" + _MS
    + rb" total=" + _MS + rb") score=(?:-?\d{1,9}(?:\.\d{1,9})?|None|nan)"
    + rb" errors=(" + _COUNT + rb" no_data=" + _COUNT + rb")[ \r]*$",
    re.MULTILINE,
)  # fmt: skip
_WORDS = b"abcdefghijklmnopqrstuvwxyz_="
_COMMAS = bytes.maketrans(b" ", b",")
_numbers = msgspec.json.Decoder(list[float]).decode
_NUMBER = rb"(-?\d{1,9}(?:\.\d{1,9})?|None|nan)"
_SCAN = re.compile(
    rb"SE score distribution \[([^\]\s]{1,100})\]: n=(\d{1,9}) min=" + _NUMBER + rb" max=" + _NUMBER
    + rb" mean=" + _NUMBER + rb" median=" + _NUMBER + rb" ready=(\d{1,9})[ \r]*$",
    re.MULTILINE,
)  # fmt: skip
_CRASH_MARK = b" exited with '"
_CRASH = re.compile(rb"Process '[^'\n]{1,100}' pid:\d{1,10} exited with '(?!exitcode 0')[^'\n]{1,100}'")


class Scan(msgspec.Struct, frozen=True):
    """What a distribution line says of a scan.

    Args:
        scan_id: of the scan.
        n: symbols that were scored.
        ready: of them, those that are ready.
        scores: min, max, mean and median by name; empty where nothing was scored.
    """

    scan_id: str
    n: int
    ready: int
    scores: dict[str, float]


@dataclass(frozen=True)
class Found:
    """What some lines hold.

    Args:
        milliseconds: prep, detectors, readiness, total per symbol, shape (symbols, 4).
        errors: per symbol, shape (symbols,).
        no_data: per symbol, shape (symbols,).
        scans: in the order of the lines.
        crashes: of worker processes.
        disabled_starts: starts with the engine switched off.
        broken: lines that begin like one of the formats and do not go on like it.
    """

    milliseconds: Array
    errors: Array
    no_data: Array
    scans: list[Scan]
    crashes: int
    disabled_starts: int
    broken: int


def parse(lines: bytes) -> Found:
    """Return what some lines hold; other lines are passed over.

    Args:
        lines: whole ones.
    """
    timings = _TIMING.findall(lines)
    text = b",".join(chain.from_iterable(timings)).translate(_COMMAS, _WORDS)
    numbers = np.array(_numbers(b"[%b]" % text)).reshape(-1, 6)  # twice as fast as numbers of their own
    scans = list(_scans(lines)) if _SCAN_MARK in lines else []
    marked = lines.count(_TIMING_MARK) + (lines.count(_SCAN_MARK) if _SCAN_MARK in lines else 0)
    return Found(
        milliseconds=numbers[:, :4],
        errors=numbers[:, 4],
        no_data=numbers[:, 5],
        scans=scans,
        crashes=sum(1 for _ in _CRASH.finditer(lines)) if _CRASH_MARK in lines else 0,
        disabled_starts=lines.count(DISABLED),
        broken=marked - len(timings) - len(scans),
    )


def _scans(lines: bytes) -> Iterator[Scan]:
    for name, n, low, high, mean, median, ready in _SCAN.findall(lines):
        texts = {"min": low, "max": high, "mean": mean, "median": median}
        known = {stat: score for stat, text in texts.items() if (score := _number(text)) is not None}
        scan = Scan(name.decode(errors="replace"), int(n), int(ready), known)
        if _is_sound(scan):
            yield scan


def _is_sound(scan: Scan) -> bool:
    if not scan.n:
        return not scan.ready
    if scan.ready > scan.n or len(scan.scores) < 4:
        return False
    low, high = scan.scores["min"], scan.scores["max"]
    return all(low - 0.1 <= scan.scores[stat] <= high + 0.1 for stat in ("mean", "median"))


def _number(text: bytes) -> float | None:
    return None if text in (b"None", b"nan") else float(text)
