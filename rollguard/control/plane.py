"""The control plane: what alerts lead to by themselves, and what people do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rollguard.control import advance, decide, drill, preconditions, run_definitions, transitions
from rollguard.control.decisions import Decisions
from rollguard.control.transitions import RefusedError
from rollguard.conventions import ENABLED, FALLBACK
from rollguard.ledger import ConflictError
from rollguard.monitoring.observation import Observation
from rollguard.monitoring.prometheus import PrometheusError
from rollguard.spec.rollout import Action, Rollout
from rollguard.state import Entry, State, Transition


class ControlPlane(Decisions):
    """Takes a rollout from stage to stage as people ask, and back; safe to use from several threads."""

    def start(self, name: str, *, actor: str, reason: str = "", unguarded: bool = False) -> Entry:
        """Start the next run of a rollout, in its first stage, once its preflight has passed.

        Args:
            name: of the rollout.
            actor: who.
            reason: why.
            unguarded: although its guards may not be loaded, not evaluated, pending or firing.
        Raises:
            UnknownRolloutError, RefusedError, LedgerError: nothing was changed.
        """
        evidence = self.dry_start(name, actor=actor, reason=reason, unguarded=unguarded).evidence
        with self._lock:
            rollout = self._filed(name)
            transition = self._beginning(rollout, self.state(name), actor=actor, reason=reason)
            noted = {"definition": rollout.definition()}
            return self._commit_by_hand(replace(transition, evidence={**evidence, **noted}))

    def dry_start(self, name: str, *, actor: str, reason: str = "", unguarded: bool = False) -> Transition:
        """Return what a start would enter, its preflight included; arguments and refusals as for `start`."""
        rollout = self._filed(name)
        found = self._require_rules_loaded(rollout, unguarded, rollout.stages[0].name)
        with self._lock:
            transition = self._beginning(rollout, self.state(name), actor=actor, reason=reason)
        # Without the lock: it takes as long as its commands do.
        passed, failures = self.preflight(rollout, transition.run) if rollout.preflight else ([], [])
        preconditions.failed_preflight(rollout, failures)
        return replace(transition, evidence=found | ({"preflight": passed} if passed else {}))

    def _beginning(self, rollout: Rollout, state: State, *, actor: str = "", reason: str = "") -> Transition:
        """Return the start of the next run; refuse where nobody may begin it."""
        transition = transitions.start(rollout, state, actor=actor, reason=reason)
        self._refuse_too_early(rollout, state)
        preconditions.before_others(rollout, self.ledger.states())
        self._refuse_while(rollout, state.run + 1, rollout.stages[0].name, "rollback")
        return transition

    def promote(
        self,
        name: str,
        *,
        actor: str,
        reason: str = "",
        origin: str | None = None,
        early: bool = False,
        unguarded: bool = False,
    ) -> Entry:
        """Step to the next stage, or to ENABLED after the last; raises as `start` does.

        Args:
            name: of the rollout.
            actor: who promotes.
            reason: why.
            origin: where the rollout is believed to be; refused if it is elsewhere. None: wherever it is.
            early: although the stage's hold, criteria, approval or the like are unmet; the entry says which.
            unguarded: as for `start`.
        """
        rollout, before = self._filed(name), self.state(name)
        following = rollout.stage_after(before.stage) if before.stage else None
        found = self._require_rules_loaded(
            rollout, unguarded, before.position, following.name if following else ENABLED
        )
        seen = self.observe(rollout, before) if before.stage else None
        with self._lock:
            state = self.state(name)
            preconditions.elsewhere(state, origin or before.position)
            transition = self._promotion(rollout, state, actor=actor, reason=reason)
            unmet = self._waits(rollout, state, seen)
            skipped = preconditions.unmet(rollout, unmet, early=early, unguarded=unguarded)
            evidence = found | ({"skipped": skipped} if skipped else {})
            return self._commit_by_hand(replace(transition, evidence=evidence))

    def _promotion(self, rollout: Rollout, state: State, *, actor: str = "", reason: str = "") -> Transition:
        """Return the step to the next stage; refuse where nobody may take it, early or not."""
        transition = transitions.promote(rollout, state, actor=actor, reason=reason)
        self._refuse_too_early(rollout, state)
        self._refuse_while(rollout, state.run, state.position, "rollback", "hold")
        preconditions.held(state)
        self._refuse_while(rollout, state.run, transition.to_stage or ENABLED, "rollback")
        return transition

    def approve(self, name: str, *, actor: str, reason: str = "", origin: str | None = None) -> Entry:
        """Let the next stage begin by itself, once everything else is met; raises as `start` does.

        Args:
            name: of the rollout.
            actor: who.
            reason: why.
            origin: as for `promote`.
        """
        with self._lock:
            rollout, state = self._rollout(name), self.state(name)
            preconditions.elsewhere(state, origin or state.position)
            return self._commit_by_hand(transitions.approve(rollout, state, actor=actor, reason=reason))

    def rollback(self, name: str, *, actor: str, reason: str, to: str = FALLBACK) -> Entry:
        """Roll back by hand; raises as `start` does. No cooldown, guard or pause delays it.

        Args:
            name: of the rollout; the running ones that require it fall with it.
            actor: who.
            reason: why.
            to: `fallback`, which ends the run; `previous` or an earlier stage's name, which does not.
        """
        with self._lock:
            try:
                return self._commit([self._back(name, actor, reason, to)], self.ledger.states(), None)[0]
            except ConflictError:  # another control plane was quicker: it may have started what requires this
                return self._commit_by_hand(self._back(name, actor, reason, to))

    def _back(self, name: str, actor: str, reason: str, to: str) -> Transition:
        rollout, state = self._rollout(name), self.state(name)
        breached = decide.armed(rollout, state.position, self._alerts.of(name), "rollback")
        preconditions.no_earlier_stage(rollout, state, to)
        evidence: dict[str, Any] = {}
        if breached:
            evidence["also_firing"] = sorted({guard.name for guard, _ in breached})
        if name in self.undefined:
            evidence["unwritten"] = run_definitions.UNDEFINED
        why = reason or "manual"
        return transitions.rollback(rollout, state, actor=actor, reason=why, to=to, evidence=evidence)

    def pause(self, name: str, *, actor: str, reason: str = "") -> Entry:
        """Take the guards' hands off a run, until it is resumed; raises as `start` does."""
        with self._lock:
            self._rollout(name)
            return self._commit_by_hand(transitions.pause(self.state(name), actor=actor, reason=reason))

    def resume(self, name: str, *, actor: str, reason: str = "") -> Entry:
        """End a pause; what fires counts at once. Raises as `start` does."""
        with self._lock:
            self._rollout(name)
            entry = self._commit_by_hand(transitions.resume(self.state(name), actor=actor, reason=reason))
            self._decide(None)
            return entry

    def acknowledge(self, name: str, *, actor: str, reason: str = "") -> Entry:
        """Note that a person has looked at why a run went back, or what holds it; raises as `start` does."""
        with self._lock:
            self._rollout(name)
            fires = {alert.guard for alert in self._alerts.of(name)}
            return self._commit_by_hand(
                transitions.acknowledge(self.state(name), actor=actor, reason=reason, firing=fires)
            )

    def drill(self, name: str, *, actor: str, reason: str = "") -> Entry:
        """Begin a drill of the alerting, which leaves the rollout as it is; raises as `start` does."""
        with self._lock:
            self._rollout(name)
            firing, now = self._alerts.of(name), self.clock.wall()
            return self._commit_by_hand(drill.ask(self.state(name), firing, now, actor=actor, reason=reason))

    def end_drill(
        self, name: str, *, actor: str, reason: str = "", seen_seconds: float | None = None
    ) -> Entry:
        """End a drill, and keep how long its steps took; raises as `start` does.

        Args:
            name: of the rollout.
            actor: who.
            reason: why the flag was not seen.
            seen_seconds: after its begin a client saw the drill's flag flipped; None: it did not.
        """
        with self._lock:
            self._rollout(name)
            return self._commit_by_hand(
                drill.end(self.state(name), actor=actor, reason=reason, seen_seconds=seen_seconds)
            )

    def cooldown_left(self, rollout: Rollout, state: State) -> float:
        """Return how long start and promote are still refused since it went back, seconds."""
        return transitions.cooldown_left(rollout, state, self.clock.wall(), self._scale)

    def hold_left(self, rollout: Rollout, state: State) -> float:
        """Return how much of the stage's hold has not passed yet, seconds: see `advance.hold_left`."""
        return advance.hold_left(rollout, state, self.seen(state), self.clock.wall(), self._scale)

    def waits_for(self, rollout: Rollout, state: State) -> list[str]:
        """Return what keeps the stage from ending, in words; nothing outside of a stage."""
        if state.status != "ROLLING_OUT":
            return []
        unfiled = [f"its rollout file: {why}" for why in self.file_problems.get(rollout.name, ())]
        return unfiled + [wait.what for wait in self._waits(rollout, state, self.seen(state))]

    def _waits(self, rollout: Rollout, state: State, seen: Observation | None) -> list[advance.Wait]:
        now, asked = self.clock.wall(), self.check_rules_loaded is not None
        return advance.waits_for(
            rollout, state, seen, now=now, scale=self._scale, states=self._shown, asked=asked
        )

    def next_step(self, rollout: Rollout, state: State) -> str:
        """Return a command that would not be refused now, or in words what it takes before there is one."""
        name = rollout.name
        if state.paused_by:
            return f"rollguard resume {name}"
        if not state.acknowledged:
            return f"rollguard acknowledge {name} --reason …"
        following = rollout.stage_after(state.stage) if state.stage else None
        if following and following.approve and state.approved != following.name:
            return f"rollguard approve {name} --from {state.stage}"
        try:
            self._filed(name)
            if state.stage is None:
                self._beginning(rollout, state)
                preconditions.unwatched(rollout, self.unguarded.get(name, ()))
                return f"rollguard start {name}"
            self._promotion(rollout, state)
            preconditions.unmet(rollout, self._waits(rollout, state, self.seen(state)))
        except RefusedError as error:
            return f"wait: {error}"
        return f"rollguard promote {name} --from {state.stage}"

    def _require_rules_loaded(self, rollout: Rollout, unguarded: bool, *positions: str) -> dict[str, Any]:
        """Refuse unless Prometheus shows that the guards watch; return as evidence what nobody could say."""
        unknown = {"alerts_unknown": True} if self.alerts_unknown else {}
        if self.check_rules_loaded is None:
            return unknown | {"rules_unknown": True}
        try:
            found = self.check_rules_loaded(rollout, positions)
        except PrometheusError as error:
            found = [str(error).rstrip(".")]
        if not unguarded:
            preconditions.unwatched(rollout, found)
        return unknown | ({"unguarded": found} if found else {})

    def _commit_by_hand(self, transition: Transition) -> Entry:
        try:
            return self._commit([transition], self.ledger.states(), None)[0]
        except ConflictError as error:
            raise RefusedError(str(error)) from error

    def _refuse_too_early(self, rollout: Rollout, state: State) -> None:
        preconditions.in_cooldown(state, self.cooldown_left(rollout, state))
        preconditions.frozen(rollout, self.clock.wall(), self._scale)
        preconditions.without_required(rollout, self.ledger.states())

    def _refuse_while(self, rollout: Rollout, run: int, position: str, *actions: Action) -> None:
        firing = [alert for alert in self._alerts.of(rollout.name) if alert.counts_in(run)]
        preconditions.while_firing(rollout, position, firing, actions)
