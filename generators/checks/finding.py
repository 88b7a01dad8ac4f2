"""What a check finds, as data: rendering it is somebody else's business."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from rollguard.errors import Problem

Severity: TypeAlias = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """One mistake, doubt or remark.

    Args:
        check: the check's name, as docs/checks.md has it.
        severity: an error must be mended, a warning looked at; a note says what was not checked.
        problem: where it is, what it is and how to mend it.
    """

    check: str
    severity: Severity
    problem: Problem
