"""Tokens: what a file must hold, what each role allows, and a rotation that no restart interrupts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rollguard.tokens import ROLES, Role, TokenError, TokenFile, Tokens, read_tokens

OLD, NEW = "an-old-token-0123456789", "a-new-token-0123456789"


def test_a_token_is_read_without_the_white_space_around_it(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("\n 0123456789abcdef\n\n fedcba9876543210 \r\n")
    assert read_tokens(path) == (b"0123456789abcdef", b"fedcba9876543210")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds 0 characters, expected 16 or more"),
        (b"short\n", "holds 5 characters"),
        (b"0123456789abcdef\nshort\n", "holds 5 characters"),
        (b"0123456789 abcdef", "holds spaces within a line, or bytes beyond ASCII"),
        ("é".encode() * 16, "bytes beyond ASCII"),
    ],
)
def test_a_token_that_is_none_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(TokenError, match=message):
        read_tokens(path)


def test_a_missing_token_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TokenError, match=r"token cannot be read: No such file"):
        read_tokens(tmp_path / "token")


def allowed(tokens: Tokens, token: str) -> set[Role]:
    bearer = tokens.bearer(f"Bearer {token}")
    return set(bearer.allows) if bearer else set()


@pytest.mark.parametrize(
    ("role", "allows"),
    [(None, set(ROLES)), ("alerts", {"alerts"}), ("read", {"read"}), ("operate", {"operate", "read"})],
)
def test_a_role_allows_what_it_says(tmp_path: Path, role: Role | None, allows: set[Role]) -> None:
    (tmp_path / "token").write_text(OLD)
    tokens = Tokens([TokenFile(tmp_path / "token", role)])
    assert allowed(tokens, OLD) == allows
    assert allowed(tokens, NEW) == set()


def test_a_token_in_two_files_has_the_roles_of_both(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(OLD)
    roles: tuple[Role, Role] = ("alerts", "read")
    tokens = Tokens([TokenFile(tmp_path / "token", role) for role in roles])
    assert allowed(tokens, OLD) == {"alerts", "read"}


def test_a_file_that_is_replaced_counts_at_once(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(OLD)
    tokens = Tokens([TokenFile(path)])
    assert allowed(tokens, OLD)
    (tmp_path / "next").write_text(f"{NEW}\n{OLD}\n")
    os.replace(tmp_path / "next", path)
    assert allowed(tokens, OLD)
    assert allowed(tokens, NEW)
    path.write_text(NEW)
    assert not allowed(tokens, OLD)
    assert allowed(tokens, NEW)


@pytest.mark.parametrize("content", [None, "", "short"])
def test_a_file_that_cannot_be_used_lets_nobody_in_until_it_can(
    tmp_path: Path, content: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "token"
    path.write_text(OLD)
    tokens = Tokens([TokenFile(path)])
    assert allowed(tokens, OLD)
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    assert not allowed(tokens, OLD)
    assert not allowed(tokens, "")
    assert len([record for record in caplog.records if record.levelname == "ERROR"]) == 1
    path.write_text(NEW)
    assert allowed(tokens, NEW)
