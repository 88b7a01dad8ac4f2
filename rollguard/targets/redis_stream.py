"""A Redis stream that is told of each switch between modes, once; urgently after a critical guard."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from rollguard.conventions import FALLBACK
from rollguard.spec.platform import acting_guards
from rollguard.spec.rollout import Rollout
from rollguard.state import State
from rollguard.targets import calls
from rollguard.targets.interface import Lane, TargetError, desired_value

TIMEOUT_SECONDS = 5.0

_SCRIPT = """
local told = redis.call('HMGET', KEYS[2], 'mode', 'crit', 'at', 'seq')
local mode, crit = told[1] or ARGV[1], told[2]
if tonumber(told[3] or 0) > tonumber(ARGV[3]) and tonumber(told[4] or 0) > tonumber(ARGV[4]) then
  return 0
end
if mode ~= ARGV[2] then
  redis.call('XADD', KEYS[1], '*', 'event', 'MODE_SWITCH', 'from', mode, 'to', ARGV[2],
             'rollout', ARGV[5], 'reason', ARGV[6], 'id', ARGV[7])
end
if ARGV[8] == '1' and crit ~= ARGV[7] then
  redis.call('XADD', KEYS[1], '*', 'event', 'ALERT', 'severity', 'CRIT',
             'rollout', ARGV[5], 'reason', ARGV[6], 'id', ARGV[7])
  crit = ARGV[7]
end
redis.call('HSET', KEYS[2], 'mode', ARGV[2], 'crit', crit or '', 'at', ARGV[3], 'seq', ARGV[4])
return 1
"""
"""Tells and remembers in one step, so that nothing is told twice; a late writer of an old state is silent."""


@dataclass(frozen=True)
class RedisStreamTarget:
    """Adds an event to a stream when the mode changes; before the first run there is nothing to tell.

    What was told last is kept in Redis, beside the stream. Of several changes that came while Redis was
    down, the last one is told.

    Args:
        name: as status and metrics show it.
        rollout: whose states they are.
        url: of the Redis.
        password_file: holds its password; None for none.
        stream: its key.
        modes: what consumers call the fallback and each stage.
        clock: Unix seconds.
    """

    LANE: ClassVar[Lane] = "network"

    name: str
    rollout: Rollout
    url: str
    password_file: Path | None
    stream: str
    modes: Mapping[str, str]
    clock: Callable[[], float] = time.time

    def apply(self, state: State) -> None:
        """Tell of the state's mode, and of a critical guard, unless that was done."""
        if state.seq == 0:
            return
        mode = desired_value(self.name, self.rollout, state, self.modes)
        identity = f"{self.rollout.name}/{state.run}/{state.seq}"
        facts = (self.modes[FALLBACK], mode, repr(state.entered_at), state.seq)
        said = (self.rollout.name, state.reason[:200], identity, int(self._urgent(state)))
        self._ask(lambda server: server.eval(_SCRIPT, 2, self.stream, self._memo, *map(str, (*facts, *said))))

    def read_back(self, state: State) -> bool:
        """Return whether the state's mode, and this very transition, was the last that was told."""
        if state.seq == 0:
            return True
        mode = desired_value(self.name, self.rollout, state, self.modes)
        told = self._ask(lambda server: server.hmget(self._memo, ["mode", "seq"]))
        return [found.decode() if found else None for found in told] == [mode, str(state.seq)]

    @property
    def _memo(self) -> str:
        return f"rollguard:{self.rollout.name}:{self.stream}"

    def _urgent(self, state: State) -> bool:
        """Return whether a critical guard has just rolled back; of old news nobody is woken."""
        severities = {guard.name: guard.severity for guard in acting_guards(self.rollout)}
        critical = state.status == "ROLLBACK" and severities.get(state.guard or "") == "critical"
        return critical and self.clock() - state.entered_at <= self.rollout.rollback.cooldown

    def _ask(self, question: Callable[[Any], Any]) -> Any:
        password = calls.read_secret(self.password_file) if self.password_file else None
        try:
            with redis.Redis.from_url(
                self.url,
                password=password,
                socket_timeout=TIMEOUT_SECONDS,
                socket_connect_timeout=TIMEOUT_SECONDS,
                retry=Retry(NoBackoff(), 0),  # whoever asks tries again, without a thread that waits for it
            ) as server:
                return question(server)
        except (redis.RedisError, OSError) as error:
            raise TargetError(f"{self.url} cannot be told: {error}.") from error
