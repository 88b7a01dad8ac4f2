"""A Redis stream as a source, by consumer group: acknowledged when the state that it changed is on disk."""

from __future__ import annotations

import logging
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from operator import itemgetter
from typing import Any, NamedTuple, TypeAlias

import msgspec
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from rollguard.exporters.sources.interface import MAX_LINE_BYTES, Block, Reading
from rollguard.exporters.sources.redis_url import HINT, StreamAddress, StreamError

logger = logging.getLogger(__name__)

MAX_UNSAVED = 200_000
"""Entries that may wait for a checkpoint; beyond them nothing is read, lest a full disk fill the memory."""

_MAX_ENTRIES, _LOOK_BYTES = 5000, 4 << 20
_CLAIM_SECONDS = 30.0
_ACK_ENTRIES = 1000
_TIMEOUT_SECONDS = 5.0

Id: TypeAlias = tuple[int, int]
Entry: TypeAlias = tuple[bytes, Sequence[bytes] | None]


class StreamPosition(msgspec.Struct, frozen=True):
    """Which entries were taken in.

    Args:
        last: the last of the new entries.
        unacknowledged: first and last of each stretch of entries that were taken in, and that Redis may still
            hold as pending: should they come again, they are not new.
    """

    last: Id
    unacknowledged: list[tuple[Id, Id]]


class _Stretch(NamedTuple):
    """Entries that were taken in and are not acknowledged."""

    bounds: tuple[Id, Id]
    ids: list[bytes]


class RedisStreamSource:
    """Reads a stream as one consumer of a group; see `rollguard.exporters.sources.interface.Source`.

    Entries that were delivered and not acknowledged, to this consumer or to one that is gone, are taken in
    unless the checkpoint holds them already. Consumers that share a group each have a name and a checkpoint.

    Args:
        url: see `rollguard.exporters.sources.redis_url.StreamAddress`.
        name: what the stream holds.
        poll_seconds: between two looks that bring nothing.
        claim_seconds: how long another consumer's entries must have lain there until it counts as gone.
    Raises:
        StreamError: the URL is none, or names no stream.
    """

    unit = "entries"

    def __init__(
        self, url: str, name: str = "events", *, poll_seconds: float = 0.1, claim_seconds: float = 60.0
    ) -> None:
        self.name = name
        self.poll_seconds = poll_seconds
        self.up = False
        self._address = StreamAddress.parse(url)
        self._claim_ms = round(claim_seconds * 1000)
        self._redis = _client(self._address.server)
        self._count = 100
        self._lag = 0.0
        self._at_end = False
        self._error = ""
        self.resume(msgspec.Raw(b"null"))

    def __str__(self) -> str:
        return str(self._address)

    def resume(self, position: msgspec.Raw) -> StreamPosition | None:
        """Go on from a checkpoint."""
        found = msgspec.json.decode(position, type=StreamPosition | None)
        self._last: Id = found.last if found else (0, 0)
        self._known = list(found.unacknowledged) if found else []
        self._taken: deque[_Stretch] = deque()
        self._look_back()
        return found

    def read(self) -> Reading[Block]:
        """Return the next entries, one a line: those that are pending first, then new ones."""
        block = None
        try:
            block = self._read_in_group()
        except (redis.RedisError, OSError) as error:
            self._at_end = self.up = False
            self._look_back()  # what was on its way when the connection broke is pending now
            self._report(f"{self}: cannot be read: {error}")
        else:
            self.up = True
            self._report("")
        return Reading(block, self._position(), self._at_end)

    def rest(self) -> None:
        """Return nothing: entries are whole."""

    def saved(self, position: msgspec.Struct) -> None:
        """Acknowledge what is in a checkpoint."""
        assert isinstance(position, StreamPosition)
        done = set(position.unacknowledged)
        try:
            while self._taken and self._taken[0].bounds in done:
                self._acknowledge(self._taken[0].ids)
                self._taken.popleft()
        except (redis.RedisError, OSError) as error:
            self._report(f"{self}: cannot acknowledge: {error}")  # the next checkpoint brings them again

    def lag(self) -> float:
        """Return the entries that are there and were not yet delivered to the group."""
        if self._at_end:
            self._lag = 0.0
        elif self.up:
            try:
                self._lag = self._ask_lag()
            except (redis.RedisError, OSError):
                logger.debug("%s: its lag cannot be asked", self)
        return self._lag

    def close(self) -> None:
        """Close the connection."""
        self._redis.close()

    def _read_in_group(self) -> Block | None:
        try:
            return self._read()
        except redis.ResponseError as error:
            if not str(error).startswith("NOGROUP"):
                raise
            self._make_group()
            return self._read()

    def _read(self) -> Block | None:
        self._at_end = False
        if sum(len(stretch.ids) for stretch in self._taken) >= MAX_UNSAVED:
            return None
        while self._pending_from:
            if block := self._take_in(self._own_pending(), new=False):
                return block
        while time.monotonic() >= self._claim_at:
            if block := self._take_in(self._abandoned(), new=False):
                return block
        entries = self._group_read(b">")
        self._at_end = len(entries) < self._count
        return self._take_in(entries, new=True)

    def _look_back(self) -> None:
        """Begin with what is pending: this consumer's own, then what others left."""
        self._pending_from = b"0"
        self._claim_from = b"0-0"
        self._claim_at = 0.0

    def _own_pending(self) -> list[Entry]:
        """The next of this consumer's pending entries that the state does not hold."""
        entries = self._group_read(self._pending_from)
        self._pending_from = entries[-1][0] if entries else b""
        if not entries:
            self._known = []
        if held := _within(entries, self._known):
            self._acknowledge([key for key, _ in entries if key in held])  # the checkpoint is on disk
        return [entry for entry in entries if entry[0] not in held | self._waiting(entries)]

    def _waiting(self, entries: list[Entry]) -> set[bytes]:
        """Those of the entries that were taken in and wait for the next checkpoint."""
        return _within(entries, [stretch.bounds for stretch in self._taken])

    def _abandoned(self) -> list[Entry]:
        """The next of the entries that lay with another consumer for too long."""
        address = self._address
        start, found = self._redis.execute_command(
            *(
                "XAUTOCLAIM",
                address.stream,
                address.group,
                address.consumer,
                self._claim_ms,
                self._claim_from,
            ),
            *("COUNT", self._count),
        )[:2]
        self._claim_from = start
        if start == b"0-0":
            self._claim_at = time.monotonic() + _CLAIM_SECONDS
        ours = self._waiting(found)
        return [entry for entry in found if entry[0] not in ours]

    def _group_read(self, start: bytes) -> list[Entry]:
        address = self._address
        found = self._redis.execute_command(
            *("XREADGROUP", "GROUP", address.group, address.consumer, "COUNT", self._count),
            *("STREAMS", address.stream, start),
        )
        return found[0][1] if found else []

    def _take_in(self, entries: list[Entry], *, new: bool) -> Block | None:
        if not entries:
            return None
        ids = [key for key, _ in entries]
        if not new:
            self._taken.extend(_Stretch((_id(key), _id(key)), [key]) for key in ids)
        else:
            self._taken.append(_Stretch((_id(ids[0]), _id(ids[-1])), ids))
            if _id(ids[0]) <= self._last:  # a Redis that lost its last writes delivers them again
                entries = [entry for entry in entries if _id(entry[0]) > self._last]
        self._last = max(self._last, _id(ids[-1]))
        return self._block([fields for _, fields in entries if fields is not None])

    def _block(self, entries: list[Sequence[bytes]]) -> Block | None:
        if not entries:
            return None
        name = self._address.field
        values = [
            fields[1] if len(fields) == 2 and fields[0] == name else _value(fields, name)
            for fields in entries
        ]
        size = sum(map(len, values))
        self._count = max(1, min(_MAX_ENTRIES, _LOOK_BYTES * len(values) // (size + 1), 4 * self._count))
        fitting = [value for value in values if len(value) <= MAX_LINE_BYTES]
        lines = b"\n".join(fitting) + b"\n"
        if lines.count(b"\n") > len(fitting):  # JSON means the same with spaces
            lines = b"\n".join(value.replace(b"\n", b" ") for value in fitting) + b"\n"
        return Block(lines, len(values) - len(fitting))

    def _acknowledge(self, ids: list[bytes]) -> None:
        for start in range(0, len(ids), _ACK_ENTRIES):
            part = ids[start : start + _ACK_ENTRIES]
            self._redis.execute_command("XACK", self._address.stream, self._address.group, *part)

    def _ask_lag(self) -> float:
        groups = self._redis.xinfo_groups(self._address.stream)
        (group,) = [one for one in groups if one["name"] == self._address.group.encode()]
        lag = group.get("lag")  # none after entries were deleted from the middle
        return float(self._redis.xlen(self._address.stream) if lag is None else lag)

    def _make_group(self) -> None:
        """Make the missing group, after what was taken in, or from the start of a stream that begins anew."""
        address = self._address
        if self._newest() < self._last:
            logger.warning("%s: begins anew; reading it from its start", self)
            self._last, self._known = (0, 0), []
            self._taken.clear()
        start = f"{self._last[0]}-{self._last[1]}"
        self._redis.xgroup_create(address.stream, address.group, start, mkstream=True)

    def _newest(self) -> Id:
        if not self._redis.exists(self._address.stream):
            return (0, 0)
        return _id(self._redis.xinfo_stream(self._address.stream)["last-generated-id"])

    def _position(self) -> StreamPosition | None:
        waiting = [*self._known, *(stretch.bounds for stretch in self._taken)]
        return StreamPosition(self._last, waiting) if waiting or self._last > (0, 0) else None

    def _report(self, error: str) -> None:
        if error and error != self._error:
            logger.error("%s", error)
        self._error = error


def _client(server: str) -> Any:
    try:
        client = redis.Redis.from_url(
            server,
            protocol=2,
            socket_timeout=_TIMEOUT_SECONDS,
            socket_connect_timeout=_TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),  # what a lost answer held is to be looked for among what is pending
        )
        client.connection_pool.make_connection()  # which alone looks at the options
    except (ValueError, TypeError, redis.RedisError) as error:
        raise StreamError(f"the address is none of Redis: {error}\n  {HINT}") from error
    for command in ("XREADGROUP", "XAUTOCLAIM"):
        client.set_response_callback(command, _as_it_came)
    return client


def _as_it_came(response: Any, **_: Any) -> Any:
    """What hiredis read: redis-py would make a dict of every entry, which takes as long as all the rest."""
    return response


def _id(text: bytes) -> Id:
    milliseconds, _, number = text.partition(b"-")
    return int(milliseconds), int(number)


def _within(entries: list[Entry], stretches: list[tuple[Id, Id]]) -> set[bytes]:
    """The ids of the entries that lie in one of the stretches, which do not overlap."""
    ordered = sorted(stretches)
    found = set()
    for key, _ in entries:
        number = _id(key)
        place = bisect_right(ordered, number, key=itemgetter(0)) - 1
        if place >= 0 and number <= ordered[place][1]:
            found.add(key)
    return found


def _value(fields: Sequence[bytes], name: bytes) -> bytes:
    """The field that holds the object; without one a line that is no event."""
    for key, value in zip(fields[::2], fields[1::2], strict=True):
        if key == name:
            return value
    return b"null"
