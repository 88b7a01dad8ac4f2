"""What a ledger needs of a database: one writer after the other, and no loss of what was acknowledged."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from rollguard.errors import RollguardError


class LedgerError(RollguardError):
    """The ledger cannot be read or written; what it says is unchanged."""


class ConflictError(RollguardError):
    """The rollout's state changed meanwhile, or the decision is in the ledger already."""


class Storage(ABC):
    """A database, and how it is read and written.

    Args:
        engine: connects to it.
        place: what errors call it; without a password.
        hints: how to mend what the database says, by words of it.
    """

    shared = False
    """Whether several control planes may run on it at once."""

    def __init__(self, engine: sa.Engine, place: str, hints: Mapping[str, str]) -> None:
        self.engine = engine
        self.place = place
        self._hints = hints
        self._opened: object = None

    def reading(self) -> AbstractContextManager[sa.Connection]:
        """Begin a transaction that reads."""
        return self.engine.begin()

    @abstractmethod
    def writing(self) -> AbstractContextManager[sa.Connection]:
        """Begin a transaction that no other writer overlaps; on its end everything is on disk."""

    @abstractmethod
    def lead(self, name: str, holder: str, seconds: float) -> bool:
        """Take or renew a lease, and return whether it is held."""

    def sole(self) -> AbstractContextManager[None]:
        """Keep other control planes off, where the database is for one only."""
        return nullcontext()

    def identity(self) -> object:
        """Return what tells this database from one that took its place."""
        return None

    def opened(self) -> None:
        """Note which database it is that was opened."""
        self._opened = self.identity()

    def check(self) -> None:
        """Refuse a database that was removed or replaced: an entry would vanish with it."""
        if self.identity() != self._opened:
            raise LedgerError(
                f"{self.place} was removed or replaced while in use.\n  Restart to open it anew."
            )

    @contextmanager
    def translated(self, done: str) -> Iterator[None]:
        """Raise what the database says as a LedgerError or ConflictError that names the place.

        Args:
            done: what was to be done to it: opened, read, written.
        """
        try:
            yield
        except IntegrityError as error:
            raise ConflictError(f"{self.place} has this decision already: {error.orig}.") from error
        except SQLAlchemyError as error:
            cause = str(getattr(error, "orig", None) or error).strip().rstrip(".")
            hint = next((hint for words, hint in self._hints.items() if words in cause), "")
            text = f"{self.place} cannot be {done}: {cause}."
            raise LedgerError(f"{text}\n  {hint}" if hint else text) from error
