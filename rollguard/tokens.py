"""Bearer tokens: the files that hold them, what each allows, and their rotation under way."""

from __future__ import annotations

import hmac
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from rollguard.errors import RollguardError

log = logging.getLogger(__name__)

Role: TypeAlias = Literal["alerts", "operate", "read"]
ROLES: tuple[Role, ...] = get_args(Role)

_INCLUDED: Mapping[Role, frozenset[Role]] = {
    "alerts": frozenset({"alerts"}),
    "operate": frozenset({"operate", "read"}),
    "read": frozenset({"read"}),
}


class TokenError(RollguardError):
    """A file with bearer tokens cannot be used."""


def read_tokens(path: Path) -> tuple[bytes, ...]:
    """Return the bearer tokens that a file holds, the one that clients send first.

    Args:
        path: one token a line; white space around it, and empty lines, do not count.
    Raises:
        TokenError: it cannot be read, or a token is shorter than 16 characters, or no header can carry it.
    """
    try:
        tokens = tuple(line.strip() for line in path.read_bytes().splitlines() if line.strip())
    except OSError as error:
        raise TokenError(f"the token file {path} cannot be read: {error.strerror}.") from error
    shortest = min(map(len, tokens), default=0)
    if shortest < 16:
        raise TokenError(f"the token file {path} holds {shortest} characters, expected 16 or more.")
    if not all(0x21 <= byte <= 0x7E for token in tokens for byte in token):
        raise TokenError(f"the token file {path} holds spaces within a line, or bytes beyond ASCII.")
    return tokens


class TokenFile:
    """The tokens of a file and what they allow; a file that was replaced counts from the next call on.

    Args:
        path: see `read_tokens`.
        role: what its tokens allow; None for everything.
    """

    def __init__(self, path: Path, role: Role | None = None) -> None:
        self.path = path
        self.allows = frozenset(ROLES) if role is None else _INCLUDED[role]
        self._seen: tuple[int, ...] | None = None
        self._tokens: tuple[bytes, ...] = ()

    @property
    def tokens(self) -> tuple[bytes, ...]:
        """What it holds now; nothing while it cannot be used: a token that was taken away must not count."""
        seen = self._stamp()
        if seen != self._seen:
            first, self._seen = self._seen is None, seen
            try:
                self._tokens = read_tokens(self.path)
            except TokenError as error:
                self._tokens = ()
                log.error("%s Whoever presents one of its tokens is refused.", error)
            else:
                if not first:
                    log.info("the token file %s was replaced", self.path)
        return self._tokens

    def _stamp(self) -> tuple[int, ...]:
        try:
            found = os.stat(self.path)
        except OSError:
            return ()
        return (found.st_ino, found.st_size, found.st_mtime_ns)


@dataclass(frozen=True)
class Bearer:
    """Who presents a token, as far as it says.

    Args:
        allows: the roles.
        file: where the token is kept, for people.
    """

    allows: frozenset[Role]
    file: str


class Tokens:
    """All tokens that a server knows.

    Args:
        files: of any roles.
    """

    def __init__(self, files: Sequence[TokenFile]) -> None:
        self._files = files

    def bearer(self, authorization: str) -> Bearer | None:
        """Return whose token a header carries; None for a token that nobody has.

        Every known token is compared, each in constant time, so that the answer's time tells nothing.

        Args:
            authorization: the header's value.
        """
        scheme, _, token = authorization.partition(" ")
        given = token.strip().encode("latin-1", "replace")
        matching = [file for file in self._files if _holds(file, given)]
        if not matching or scheme.lower() != "bearer":
            return None
        allows = frozenset[Role]().union(*(file.allows for file in matching))
        return Bearer(allows, str(matching[0].path))


def _holds(file: TokenFile, given: bytes) -> bool:
    return sum(hmac.compare_digest(given, token) for token in file.tokens) > 0
