"""A running stack with its service, and the acts of a person who releases."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from demo.service import CLIENT_POLL_SECONDS, TradingService
from rollguard.cli.local.stack import Stack
from rollguard.client import Client, RefusedByServerError
from rollguard.generators.rules.timing import Timing
from rollguard.spec.rollout import Rollout

PROBE_KEYS = tuple(f"account-{number}" for number in range(200))
MIN_DRIFT_ROWS = 300
MIN_CANARY_TRADES = 500
"""What the criterion of each canary stage asks for."""

COMPARED = {"CanaryWinrateRollback-losses": "losses", "DriftDetected-arms": "features"}
"""The guards that compare both models, and what of them."""

FOUND = -math.log(0.01)
"""The evidence at which they fire, nats."""

STAGE_TIMEOUT_SECONDS = 240.0
"""The longest stage, of 10 %, takes 40 s on an idle machine."""

HOLD_TIMEOUT_SECONDS = 60.0
COHORT_TIMEOUT_SECONDS = 20.0
ROLLBACK_TIMEOUT_SECONDS = 120.0
PSI_LIMIT, KS_LIMIT = 0.30, 0.20

Say = Callable[[str], None]
"""Prints a line."""


class UnexpectedError(Exception):
    """The story took another turn; the text says what was seen."""


@dataclass(frozen=True)
class Measured:
    """What the exporters show at one moment; NaN where they show nothing."""

    evidence: dict[str, float]
    canary_trades: float
    drift_rows: float
    independent_rows: float
    psi: float
    ks: float

    @property
    def drifts(self) -> bool:
        """Whether a limit of DriftDetected is passed."""
        return self.psi > PSI_LIMIT or self.ks > KS_LIMIT


class Scene:
    """The acts of a release, and what comes of them.

    Args:
        rollout: what is released.
        stack: running.
        client: of its control plane.
        service: trading.
        say: prints a line.
    """

    def __init__(
        self, rollout: Rollout, stack: Stack, client: Client, service: TradingService, say: Say
    ) -> None:
        self._rollout, self._stack, self._client, self._service, self._say = (
            rollout,
            stack,
            client,
            service,
            say,
        )
        self._http = httpx.Client(timeout=10.0)  # a busy machine answers late
        self._exporter = f"http://{stack.rollouts[0].scrape.targets[0]}/metrics"
        self._evaluator = f"http://{stack.addresses.evidence}/metrics"

    def wait_for_data(self) -> None:
        """Wait until Prometheus has scraped, and no alert of before is active: it would hold the run."""
        deadline = time.monotonic() + 30.0
        while time.monotonic() < deadline:
            answer = self._http.get(
                f"http://{self._stack.addresses.prometheus}/api/v1/query?query=drift_sample"
            )
            if answer.json()["data"]["result"] and not self._active_alerts():
                return
            time.sleep(0.1)
        raise UnexpectedError(f"alerts are still active after 30 s: {', '.join(self._active_alerts())}")

    def _active_alerts(self) -> list[str]:
        url = f"http://{self._stack.addresses.alertmanager}/api/v2/alerts"
        found = self._http.get(url, params={"filter": f'rollout="{self._rollout.name}"'}).json()
        return [alert["labels"]["alertname"] for alert in found]

    def ramp_up(self, release: str) -> None:
        """Take a release through every stage; each lasts until its data say enough."""
        self._act("start", f"{release} begins")
        self._wait("shadow", lambda _: False, seconds=3.0)
        for stage in self._rollout.stages[1:]:
            before = self._measure()
            self._promote(f"{release} looks healthy")
            self._wait_for_new_cohort(before)
            enough = _full_enough if stage.share == 100 else _canary_enough
            if not self._wait(f"{stage.name}, {stage.share:g} %", enough):
                raise UnexpectedError(
                    f"stage {stage.name} had too few trades after {STAGE_TIMEOUT_SECONDS:g} s"
                )
        self._promote(f"{release} stays")
        self._wait("enabled", lambda _: False, seconds=2.0)
        self._require_no_hold(self._require("ENABLED")["run"])
        self._say(f"{release} is fully on: no guard of the rollout held it or rolled it back.")

    def _require_no_hold(self, run: int) -> None:
        """Stop where a guard of the rollout held the run; a lag of this machine's may."""
        for entry in self._client.get("history"):
            if entry["run"] == run and entry["kind"] == "hold" and self._rollout.guard(entry["reason"]):
                raise UnexpectedError(f"{entry['reason']} held run {run}, which is healthy")

    def ramp_until_rolled_back(self, release: str) -> str:
        """Take a release to its canary and wait for the guards."""
        self._act("start", f"{release} begins")
        self._wait("shadow", lambda _: False, seconds=3.0)
        self._promote(f"{release} looks as healthy as release 1: shadow scoring says so")
        probe = self._someone_in_the_canary()
        self._say(f"  {probe} now gets the candidate, by OpenFeature's file client and by OFREP")
        breached_at = self._wait_for_breach()
        seen_at = self._wait_for_fallback(probe)
        state = self._require("ROLLBACK")
        self._require_compared(state["run"])
        for key in PROBE_KEYS:
            if self._service.serves_candidate(key) or self._by_ofrep(key):
                raise UnexpectedError(f"{key} still gets the candidate after the rollback")
        self._say(f"  all {len(PROBE_KEYS)} accounts asked get the active model again, by both clients")
        reason = state["reason"]
        return (
            f"rolled back {self._rollout.name} in {seen_at - breached_at:.2f} s "
            f"(worst case by configuration {self._worst_case(reason):.2f} s), reason {reason}"
        )

    def _require_compared(self, run: int) -> None:
        """Stop where no comparison with the active model found the defect, too."""
        found = {entry["reason"] for entry in self._client.get("history") if entry["run"] == run}
        if not found & COMPARED.keys():
            raise UnexpectedError(f"no guard by `compare` found the defect of run {run}")

    def _promote(self, reason: str) -> None:
        """Promote once no guard holds the stage: on a busy machine the exporter lags now and then."""
        deadline = time.monotonic() + HOLD_TIMEOUT_SECONDS
        while True:
            try:
                return self._act("promote", reason, early=True)  # a demo waits for no hold of hours
            except RefusedByServerError as error:
                self._require("ROLLING_OUT")
                if time.monotonic() > deadline:
                    raise UnexpectedError(str(error)) from error
            time.sleep(0.25)

    def _act(self, verb: str, reason: str, **options: bool) -> None:
        asked = {"actor": "release engineer", "reason": reason, **options}
        entry = self._client.post(f"rollouts/{self._rollout.name}/{verb}", asked)
        self._say(f"  {verb}: {entry['to_stage'] or entry['to_status'].lower()}")

    def _wait(self, what: str, enough: Callable[[Measured], bool], seconds: float | None = None) -> bool:
        """Wait until enough was measured, or for some seconds; tell how it goes, and stop at a rollback."""
        deadline = time.monotonic() + (seconds or STAGE_TIMEOUT_SECONDS)
        next_word = time.monotonic() + 5.0
        while time.monotonic() < deadline:
            measured = self._measure()
            if enough(measured):
                self._progress(what, measured)
                return True
            if time.monotonic() >= next_word:
                self._progress(what, measured)
                next_word += 5.0
            self._require("ROLLING_OUT", "ENABLED")
            time.sleep(0.25)
        return False

    def _wait_for_new_cohort(self, before: Measured) -> None:
        """Wait until the exporter counts the new stage, from zero."""
        deadline = time.monotonic() + COHORT_TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            measured = self._measure()
            few = measured.canary_trades < MIN_CANARY_TRADES and measured.drift_rows < MIN_DRIFT_ROWS
            if few or measured.canary_trades < before.canary_trades / 2:
                return
            time.sleep(0.05)
        raise UnexpectedError(
            f"the exporter did not hear of the new stage within {COHORT_TIMEOUT_SECONDS:g} s"
        )

    def _progress(self, what: str, measured: Measured) -> None:
        drift = f"PSI at most {measured.psi:.2f} of {PSI_LIMIT:.2f}"
        if math.isnan(measured.psi):
            worth = 0 if math.isnan(measured.independent_rows) else measured.independent_rows
            drift = (
                f"{measured.drift_rows:g} rows, worth {worth:.0f} independent ones; "
                f"drift is judged from {MIN_DRIFT_ROWS} of these on"
            )
        trades = f"{measured.canary_trades:g} canary trades, " if "canary" in what or "ramp" in what else ""
        compared = ", ".join(
            f"{of} {measured.evidence[name]:.1f}"
            for name, of in COMPARED.items()
            if not math.isnan(measured.evidence[name])
        )
        evidence = f"; evidence against {compared} of {FOUND:.1f}" if compared else ""
        self._say(f"    {what}: {trades}{drift}{evidence}")

    def _wait_for_breach(self) -> float:
        """Return when a limit of DriftDetected was seen passed, or when the guard fired that was quicker."""
        deadline = time.monotonic() + ROLLBACK_TIMEOUT_SECONDS
        next_word = time.monotonic() + 3.0
        measured, compared = self._measure(), False
        while time.monotonic() < deadline:
            measured = self._measure()
            if not compared and measured.evidence["DriftDetected-arms"] >= FOUND:
                compared = True
                self._say("  FOUND by comparison: its features are not the active model's of the same time")
            if measured.drifts:
                now = time.time()
                self._say(f"  BREACH exposed: PSI {measured.psi:.2f}, KS {measured.ks:.2f}")
                return now
            if time.monotonic() >= next_word:
                self._progress("canary", measured)
                next_word += 3.0
                if self._state()["state"] == "ROLLBACK":
                    return float(self._client.get("history")[-1]["evidence"].get("starts_at", time.time()))
            time.sleep(0.02)
        raise UnexpectedError(
            f"no guard's limit was passed within {ROLLBACK_TIMEOUT_SECONDS:g} s (PSI at most "
            f"{measured.psi:.2f}); {self._rollout.name} is still in {self._state()['position']}"
        )

    def _wait_for_fallback(self, probe: str) -> float:
        deadline = time.monotonic() + ROLLBACK_TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            if not self._service.serves_candidate(probe):
                now = time.time()
                self._say(f"  {probe} reads the active variant")
                return now
            time.sleep(0.005)
        raise UnexpectedError(
            f"{probe} still gets the candidate; the rollout is in {self._state()['position']}"
        )

    def _someone_in_the_canary(self) -> str:
        deadline = time.monotonic() + COHORT_TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            for key in PROBE_KEYS:
                if self._service.serves_candidate(key) and self._by_ofrep(key):
                    return key
            time.sleep(0.05)
        raise UnexpectedError("no account gets the candidate at 10 %")

    def _by_ofrep(self, key: str) -> bool:
        url = f"http://{self._stack.addresses.control_plane}/ofrep/v1/evaluate/flags/{self._rollout.flag.key}"
        answer = self._http.post(url, json={"context": {"targetingKey": key}})
        return bool(answer.json()["value"])

    def _measure(self) -> Measured:
        text, judged = (self._http.get(url).text for url in (self._exporter, self._evaluator))
        return Measured(
            {name: _value(judged, "rollguard_log_evalue", guard=name) for name in COMPARED},
            _value(text, "sample_canary"),
            _value(text, "drift_sample"),
            _value(text, "drift_effective_sample", min),
            _value(text, "psi_feature"),
            _value(text, "ks_feature"),
        )

    def _state(self) -> dict[str, Any]:
        found: dict[str, Any] = self._client.get(f"rollouts/{self._rollout.name}")
        return found

    def _require(self, *expected: str) -> dict[str, Any]:
        if self._service.error:
            raise UnexpectedError(f"the trading service failed: {self._service.error!r}")
        state = self._state()
        if state["state"] not in expected:
            raise UnexpectedError(f"{state['rollout']} is in {state['state']}, reason {state['reason']}")
        return state

    def _worst_case(self, reason: str) -> float:
        """Phase of the scrape, phase of the evaluation, `for`, group_wait (0), and the client's own poll."""
        timing = Timing(self._stack.scale, self._rollout.scrape.interval)
        guard = self._rollout.guard(reason)
        return 2 * timing.interval + timing.seconds(guard.for_ if guard else 0) + CLIENT_POLL_SECONDS


def _canary_enough(measured: Measured) -> bool:
    return measured.canary_trades >= MIN_CANARY_TRADES and not math.isnan(measured.psi)


def _full_enough(measured: Measured) -> bool:
    return measured.drift_rows >= 1000 and not math.isnan(measured.psi)


def _value(exposition: str, metric: str, of: Callable[[list[float]], float] = max, guard: str = "") -> float:
    """Return the value that `of` chooses from the samples of a metric or guard; NaN without samples."""
    lines = (line for line in exposition.splitlines() if line.startswith((f"{metric} ", f"{metric}{{")))
    if guard:
        lines = (line for line in lines if f'guard="{guard}"' in line)
    return of([float(line.rsplit(" ", 1)[1]) for line in lines] or [math.nan])
