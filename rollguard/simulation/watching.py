"""What is watched of many rollouts: each guard's rule, whether it can be judged, and since when."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rollguard.exporters.evidence.judged import judged
from rollguard.monitoring.observation import GuardObservation
from rollguard.simulation.evidence import Bet
from rollguard.simulation.guards import Formula, formulas
from rollguard.simulation.laws import Moment
from rollguard.simulation.reads import NoLawError, Traffic
from rollguard.simulation.windows import Lasting, Rows, Truth
from rollguard.spec.guards import alpha, clear_for, look_back
from rollguard.spec.platform import acting_guards
from rollguard.spec.rollout import BY_EVIDENCE, Guard, Rollout

_SILENT_SECONDS = 300.0


class Watch:
    """One guard that is simulated.

    Args:
        rollout: its file.
        guard: itself.
        conditions: which fire it, each by itself.
        rows: how many rollouts.
        positions: whether it is armed, by the number of a stage, the last one being `enabled`.
    """

    def __init__(
        self,
        rollout: Rollout,
        guard: Guard,
        conditions: Sequence[Formula],
        rows: int,
        positions: Sequence[bool],
    ) -> None:
        self.guard, self.armed_at = guard, np.array(positions)
        self.clock = rollout.clock_of(guard)
        self.open = True
        self._conditions, self._lasting = conditions, Lasting(rows, guard.for_)
        self._clear_for = clear_for(rollout, guard)
        self._silent_for = max(_SILENT_SECONDS, look_back(guard))
        self.fired: Truth = np.zeros(rows, dtype=np.bool_)
        self.pending: Truth = self.fired.copy()
        self.judged: Truth = ~self.fired
        self.began: Truth = self.fired.copy()
        self._false_since, self._judged_at = np.zeros(rows), np.zeros(rows)

    def look(self, moment: Moment, position: Rows, now: float) -> None:
        """Take in a look at all rollouts, which are at positions."""
        self.open = self.clock is None or self.clock.open_at(now)
        found = [one.look(moment) for one in self._conditions]
        truth, self.judged = found[0]
        for other, can in found[1:]:
            truth, self.judged = truth | other, self.judged & can
        truth = truth & (self.armed_at[position] & self.open)
        times = moment.at - moment.seconds + moment.seconds * np.arange(1, len(truth) + 1) / len(truth)
        fired, self.pending = self._lasting.add(truth, times)
        self.began, self.fired = fired & ~self.fired, fired
        breached = fired | self.pending
        self._false_since = np.where(breached | ~self.judged, moment.at, self._false_since)
        self._judged_at = np.where(self.judged, moment.at, self._judged_at)

    def is_clear(self, at: float) -> Truth:
        """Return which rollouts it may no longer hold: false with data, or silent, for long enough."""
        clear = at - self._false_since >= self._clear_for
        return clear | (at - self._judged_at >= self._silent_for)

    def seen(self, row: int, at: float) -> GuardObservation:
        """Return what is to be seen of it at a rollout."""
        if not self.open:
            return GuardObservation("closed")
        if self.pending[row]:
            return GuardObservation("breached", "fires")
        if not self.judged[row]:
            return GuardObservation("waiting", silent_seconds=at - float(self._judged_at[row]))
        return GuardObservation("armed", clear_seconds=at - float(self._false_since[row]))

    def likelihood(self, share: float) -> float | None:
        """Return how likely a healthy release breaches it anew at one look, at most; None: nobody knows."""
        known = [one.likelihood(share) for one in self._conditions]
        return None if None in known else sum(one for one in known if one is not None)

    def begin_again(self, rows: Truth) -> None:
        """Begin the evidence anew where a hold has ended."""
        for one in self._conditions:
            if isinstance(one, Bet):
                one.begin_again(rows)

    def keep(self, rows: Rows) -> None:
        """Forget the other rollouts."""
        self._lasting.keep(rows)
        for one in self._conditions:
            one.keep(rows)
        for name in ("fired", "pending", "judged", "began", "_false_since", "_judged_at"):
            setattr(self, name, getattr(self, name)[rows])


class Watches:
    """All guards of a rollout that have a law, and why the others have none.

    Args:
        rollout: its file.
        traffic: what is drawn.
        labelled: counters that say at which percent an outcome was assigned.
        guards: those that matter; None: all that may act.
    """

    def __init__(
        self,
        rollout: Rollout,
        traffic: Traffic,
        labelled: frozenset[str] = frozenset(),
        guards: Sequence[Guard] | None = None,
    ) -> None:
        self.watches: list[Watch] = []
        self.bets: dict[str, Bet] = {}
        self.not_simulated: dict[str, str] = {}
        bets = {one.guard: one for one in judged(rollout)} if guards is None else {}
        shares = tuple(dict.fromkeys(one.share / 100 for one in rollout.stages if 0 < one.share < 100))
        positions = [*(stage.name for stage in rollout.stages), "enabled"]
        for guard in acting_guards(rollout) if guards is None else guards:
            if guard.use in ("no-data", "platform"):
                continue
            conditions: list[Formula] = []
            missing: list[str] = []
            if guard.use in BY_EVIDENCE:
                try:
                    bet = Bet(bets[guard.name], alpha(guard), traffic, labelled, shares)
                    self.bets[guard.name] = bet
                    conditions = [bet]
                except NoLawError as error:
                    missing = [str(error)]
            else:
                conditions, missing = formulas(guard, traffic)
            if missing:
                self.not_simulated[guard.name] = ", ".join(dict.fromkeys(missing))
            if conditions:
                armed = [guard.armed_in(name) for name in positions]
                self.watches.append(Watch(rollout, guard, conditions, traffic.rows, armed))
