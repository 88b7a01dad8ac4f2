"""What every source is: something read from a position that survives a restart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import msgspec

MAX_LINE_BYTES = 1 << 20
"""A longer line is passed over."""

Records = TypeVar("Records")
Records_co = TypeVar("Records_co", covariant=True)


class Block(NamedTuple):
    """Lines, as files and streams bring them.

    Args:
        lines: complete lines, each with its line feed; may be empty.
        too_long: lines that were passed over for their length.
    """

    lines: bytes = b""
    too_long: int = 0


class Result(NamedTuple):
    """What one SQL query brought.

    Args:
        query: its name.
        rows: value by column, at most as many as the query may bring.
        seconds: how long it took.
        error: why there are no rows; empty where it worked.
    """

    query: str
    rows: list[dict[str, Any]]
    seconds: float
    error: str = ""


@dataclass(frozen=True)
class Reading(Generic[Records_co]):
    """What one look at a source brought.

    Args:
        records: new ones, to be fed; None where there are none.
        position: where the source is after them, for the checkpoint; equal positions are the same place.
        at_end: whether these were the last for now; a source that always has new ones gets there, too.
        save_soon: whether the checkpoint should not wait, as the source cannot find this place for ever.
    """

    records: Records_co | None
    position: msgspec.Struct | None
    at_end: bool
    save_soon: bool = False


class Source(Protocol[Records_co]):
    """Read by one thread only, but for `name`, `unit`, `poll_seconds` and `up`.

    Nothing that goes wrong outside is raised: it is logged once, shown by `up`, and tried again.
    """

    name: str
    """What it holds, such as events or scan_results: the label `source` of the exporter's health."""
    unit: str
    """What its lag is counted in: bytes, entries; empty where it cannot lag."""
    poll_seconds: float
    """Between two looks where the first brought nothing more."""
    up: bool
    """Whether it could be read at the last look."""

    def __str__(self) -> str:
        """Say which it is, for messages: a path, an address without its password."""

    def resume(self, position: msgspec.Raw) -> msgspec.Struct | None:
        """Go on from a checkpoint.

        Args:
            position: JSON of a reading's; null to begin as without a checkpoint.
        Returns:
            The position, as a reading has it.
        Raises:
            ValueError: it is none of this source; nothing is changed.
        """

    def read(self) -> Reading[Records_co]:
        """Return what is new, a bounded amount."""

    def rest(self) -> Records_co | None:
        """Return what is not complete, such as a line without its line feed, as nothing more is to come."""

    def saved(self, position: msgspec.Struct) -> None:
        """Take note that everything up to a position is in a checkpoint on disk."""

    def lag(self) -> float:
        """Return how much is there and not yet read, in `unit`."""

    def close(self) -> None:
        """Let go of what is open."""
