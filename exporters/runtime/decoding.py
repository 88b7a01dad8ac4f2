"""Lines become events, or are counted and passed over."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import msgspec
import numpy as np

logger = logging.getLogger(__name__)

SYNTAX, SHAPE, UNKNOWN, ENCODING = "syntax", "shape", "unknown", "encoding"
TOO_LONG, LATE, FUTURE = "too_long", "late", "future"
REASONS = (SYNTAX, SHAPE, UNKNOWN, ENCODING, TOO_LONG, LATE, FUTURE)
"""Why a line or an event was passed over, in `rollguard_exporter_events_rejected_total{reason}`."""

_SHOWN = 160
_FEED, _OPEN, _CLOSE = b"\n{}"
Event = TypeVar("Event")
Event_co = TypeVar("Event_co", covariant=True)


class Rejections:
    """Says once per reason what was passed over; who counts them is another's business."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def say(self, reason: str, detail: str, line: object = b"") -> None:
        """Log the first of its kind.

        Args:
            reason: one of REASONS.
            detail: what was wrong.
            line: the line or event, of which the beginning is shown.
        """
        if reason not in self._said:
            self._said.add(reason)
            shown = f": {repr(line)[:_SHOWN]}" if line else ""
            logger.warning("passed over (%s): %s%s; more of the kind is only counted", reason, detail, shown)


class Decoder(Protocol[Event_co]):
    """Decodes one line; msgspec's decoders do. One that has `decode_lines` too is asked for many at once."""

    def decode(self, line: bytes, /) -> Event_co:
        """Return its event; raises ValueError, of one that is JSON a msgspec.ValidationError."""


class LineDecoder(Generic[Event]):
    """Decodes lines into the events of one exporter.

    Args:
        decoder: of the union of its events, told apart by the tag `event`.
        kinds: the tags it knows; a line of another kind is `unknown`, as producers grow.
        rejections: told of each line that is no event.
    """

    def __init__(self, decoder: Decoder[Event], kinds: frozenset[str], rejections: Rejections) -> None:
        self._decode = decoder.decode
        self._decode_lines: Callable[[bytes], list[Event]] | None = getattr(decoder, "decode_lines", None)
        self._kinds = kinds
        self._rejections = rejections
        self._tag = msgspec.json.Decoder(_Tagged)

    def decode(self, lines: bytes) -> tuple[list[Event], Counter[str]]:
        """Return the events of some lines.

        Args:
            lines: separated by line feeds; blank ones are passed over.
        Returns:
            The events in order, and how many lines were rejected by reason.
        """
        clean = _is_utf8(lines)
        if clean and (found := self._all_at_once(lines)) is not None:
            return found, Counter()
        events: list[Event] = []
        rejected: Counter[str] = Counter()
        for line in lines.split(b"\n"):
            try:
                if not clean:
                    line.decode()
                events.append(self._decode(line))
            except (ValueError, RecursionError) as error:
                if line and not line.isspace():
                    reason = self._reason(line, error)
                    rejected[reason] += 1
                    self._rejections.say(reason, str(error), line)
        return events, rejected

    def _all_at_once(self, lines: bytes) -> list[Event] | None:
        """The events, in a third of the time, where every line is one; else None.

        msgspec takes any white space between two values. Where each line feed follows a brace and precedes
        one, it is between two values, so that as many values as lines are one a line.
        """
        if self._decode_lines is None or lines[:1] != b"{" or lines[-2:] != b"}\n":
            return None
        text = np.frombuffer(lines, np.uint8)
        feeds = np.flatnonzero(text == _FEED)
        if (text[feeds - 1] != _CLOSE).any() or (text[feeds[:-1] + 1] != _OPEN).any():
            return None
        try:
            events = self._decode_lines(lines)
        except (ValueError, RecursionError):
            return None
        return events if len(events) == len(feeds) else None

    def _reason(self, line: bytes, error: Exception) -> str:
        if isinstance(error, UnicodeDecodeError):
            return ENCODING
        if not isinstance(error, msgspec.ValidationError):
            return SYNTAX
        try:
            kind = self._tag.decode(line).event
        except msgspec.ValidationError:
            return SHAPE
        except (ValueError, RecursionError):
            return SYNTAX
        return SHAPE if kind in self._kinds else UNKNOWN


class _Tagged(msgspec.Struct):
    event: str


def _is_utf8(lines: bytes) -> bool:
    if lines.isascii():
        return True
    try:
        lines.decode()
    except UnicodeDecodeError:
        return False
    return True
