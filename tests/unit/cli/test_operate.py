"""Commands on a running control plane: what they say of a ledger entry, and who asks."""

from __future__ import annotations

import os
from typing import Any

import pytest

from rollguard.cli import operate


def entry(**changes: Any) -> dict[str, Any]:
    """Return a start by hand as the API shows it, with changes."""
    start = {
        "seq": 1,
        "at": 1_700_000_000.25,
        "rollout": "model",
        "run": 1,
        "kind": "start",
        "from_status": "DISABLED",
        "from_stage": None,
        "to_status": "ROLLING_OUT",
        "to_stage": "canary",
        "actor": "ann",
        "guard": None,
        "reason": "release 42",
        "evidence": {},
    }
    return {**start, **changes}


def test_an_entry_is_a_line() -> None:
    assert operate.line(entry()) == (
        "   1  2023-11-14 22:13:20.250Z  model  run 1  start  disabled → canary  by ann: release 42"
    )


def test_below_it_stands_what_it_rested_on() -> None:
    alert = {"annotations": {"description": "Value 0.07:\nabove 0.05."}}
    held = entry(kind="hold", actor="guard", evidence={"guards": ["Errors"], "alerts": {"Errors": alert}})
    first, second = operate.text(held).splitlines()
    assert first == operate.line(held)
    assert second == "      Errors: Value 0.07:\N{REPLACEMENT CHARACTER}above 0.05."


@pytest.mark.parametrize("key", ["actor", "reason"])
@pytest.mark.parametrize("text", ["a\nb", "a\rb", "a\x1b[2Kb", "a\u202eb", "a\u2028b"], ids=ascii)
def test_what_would_move_a_cursor_or_fake_a_line_is_replaced(key: str, text: str) -> None:
    shown = operate.line(entry(**{key: text}))
    assert shown.isprintable()
    assert "a\N{REPLACEMENT CHARACTER}" in shown


def test_a_user_without_a_name_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000)
    assert operate.user() == "uid 4000000"
