"""A service with an HTTP API: requests for each state, and a way to read back what is in effect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rollguard.spec.rollout import Rollout
from rollguard.spec.targets import Http
from rollguard.state import State
from rollguard.targets.calls import Caller
from rollguard.targets.interface import Lane, desired_value


@dataclass(frozen=True)
class HttpTarget:
    """Sends what a state means, in order, until the service shows it.

    Every request carries an `Idempotency-Key` that is the same each time it is tried for one transition.

    Args:
        name: as status and metrics show it.
        rollout: whose states they are.
        body: what the rollout file says.
        caller: sends the requests.
    """

    LANE: ClassVar[Lane] = "network"

    name: str
    rollout: Rollout
    body: Http
    caller: Caller

    def apply(self, state: State) -> None:
        """Send the state's requests, unless the service is there already."""
        if self.read_back(state):
            return
        requests = desired_value(self.name, self.rollout, state, self.body.send)
        for number, request in enumerate(requests):
            key = f"{self.rollout.name}-{state.run}-{state.seq}-{number}"
            headers = {"idempotency-key": key, **request.headers}
            self.caller.call(request.method, self.body.url + request.path, request.body, headers)

    def read_back(self, state: State) -> bool:
        """Return whether the service shows what the state means."""
        read = self.body.read
        expected = desired_value(self.name, self.rollout, state, read.expect)
        return not self.caller.require(read.method, self.body.url + read.path, read.body, expected, {})
