"""The story that `make demo` tells: a healthy release is ramped and stays; a defective one is rolled back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from openfeature import api

from demo import market, models
from demo.features import FEATURES
from demo.service import CLIENT_POLL_SECONDS, Files, TradingService, flag_client
from demo.signals import TRADING_DAY_MINUTES, stream
from exporters.reference import Reference
from generators.timing import Timing
from rollguard.cli.client import Client
from rollguard.cli.stack import Settings, Stack
from rollguard.loading import load_rollout
from rollguard.spec import Rollout

SCALE = 60.0
ROLLOUT = Path(__file__).resolve().parent.parent / "rollouts" / "model-canary.yaml"
PROBE_KEYS = tuple(f"account-{number}" for number in range(200))

MIN_DRIFT_ROWS = 300
STAGE_TIMEOUT_SECONDS = 60.0
ROLLBACK_TIMEOUT_SECONDS = 40.0
PSI_LIMIT, KS_LIMIT = 0.30, 0.20

_APP_CONFIG = """\
# The application's own configuration. Rollguard replaces values in it and leaves the rest alone.
exchange:
  mode: paper            # the demo trades on paper whatever the route
rollout:
  mode: disabled         # disabled | canary | full
  canary_fraction: 0.10
  rng_seed: 1337
ai_scorer:
  shadow:
    enabled: true
"""

Say = Callable[[str], None]


class UnexpectedError(Exception):
    """The story took another turn; the text says what was seen."""


@dataclass(frozen=True)
class Measured:
    """What the exporter shows at one moment; NaN where it shows nothing."""

    canary_trades: float
    drift_rows: float
    psi: float
    ks: float

    @property
    def drifts(self) -> bool:
        """Whether a limit of DriftDetected is passed."""
        return self.psi > PSI_LIMIT or self.ks > KS_LIMIT


class Story:
    """One telling.

    Args:
        folder: an empty folder for everything that it writes.
        seed: draws the order of days and what is synthetic.
        defect: whether the second release has its defect.
        say: prints a line.
    """

    def __init__(self, folder: Path, seed: int, defect: bool, say: Say) -> None:
        self._folder, self._seed, self._defect, self._say = folder, seed, defect, say
        self._rollout: Rollout = load_rollout(ROLLOUT)
        self._files = Files(
            folder / "var" / "events.jsonl", folder / "var" / "flags.json", folder / "config" / "app.yml"
        )
        self._began = time.time()

    def tell(self) -> str:
        """Run it all and return the sentence that sums it up.

        Raises:
            UnexpectedError: the healthy release did not stay, or the defective one was not rolled back.
        """
        bars = market.load()
        active, healthy = models.active(bars), models.candidate(bars)
        self._introduce(bars, [active, healthy])
        self._prepare(bars)
        second = models.defective(healthy) if self._defect else healthy
        stack = Stack(
            Settings([self._rollout], self._folder / "rollguard", self._folder, SCALE, free_ports=True)
        )
        self._say("starting Prometheus, Alertmanager, the exporter and the control plane on loopback ...")
        with (
            stack.running(),
            stack.client() as client,
            self._trading(bars, active, healthy) as service,
        ):
            scene = _Scene(self._rollout, stack, client, service, self._say)
            scene.wait_for_data()
            self._say("\nRelease 1, healthy: ramped stage by stage.")
            scene.ramp_up("release 1")
            service.promote_candidate()
            service.deploy(second)
            self._say(
                "\nRelease 2: its live path swaps the day's return and volume. Shadow scoring cannot see it."
            )
            outcome = scene.ramp_until_rolled_back("release 2")
            self._say("\nThe ledger's account:")
            for entry in client.get("history"):
                self._say(f"  {_account(entry, self._began)}")
        return outcome

    def _introduce(self, bars: market.Bars, releases: list[models.Release]) -> None:
        self._say(
            f"S&P 500 and Nasdaq Composite, {bars.days[0]} to {bars.days[-1]}: {len(bars.days)} real days.\n"
            f"Two models fitted on the years before {models.LIVE_SINCE.year}, serving the years after:"
        )
        for release in releases:
            self._say(f"  {release.model.describe()}")
        self._say(
            "A trade is a one-day put sold 1.5 daily deviations under the close, and wins if the next close\n"
            f"is above (most do). Days come in an order drawn by seed {self._seed}; a trading day lasts "
            f"{TRADING_DAY_MINUTES} minute,\nand the clock runs {SCALE:g} times as fast. "
            "Orders, fills and markouts are synthetic: daily bars hold none."
        )

    def _prepare(self, bars: market.Bars) -> None:
        for path in (self._files.events, self._files.config):
            path.parent.mkdir(parents=True, exist_ok=True)
        self._files.events.touch()
        self._files.config.write_text(_APP_CONFIG, encoding="utf-8")
        rows = models.early_years(bars).features.T
        source = f"{market.__name__}: years before {models.LIVE_SINCE.year}"
        reference = Reference.fit(dict(zip(FEATURES, rows, strict=True)), source=source, made_at=time.time())
        reference.save(self._folder / "var" / "reference.json")

    @contextmanager
    def _trading(
        self, bars: market.Bars, active: models.Release, candidate: models.Release
    ) -> Iterator[TradingService]:
        service = TradingService(
            self._files,
            stream(bars, self._seed),
            active=active,
            candidate=candidate,
            flag=self._rollout.flag.key,
            scale=SCALE,
            client=flag_client(self._files.flags),
        )
        service.start()
        try:
            yield service
        finally:
            service.stop()
            api.shutdown()


class _Scene:
    """A running stack with its service, and the acts of a person who releases."""

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
        self._http = httpx.Client(timeout=2.0)
        self._exporter = f"http://{stack.rollouts[0].scrape.targets[0]}/metrics"

    def wait_for_data(self) -> None:
        """Wait until Prometheus has scraped: until then guards without data hold every promotion."""
        deadline = time.monotonic() + 30.0
        while time.monotonic() < deadline:
            answer = self._http.get(
                f"http://{self._stack.addresses.prometheus}/api/v1/query?query=drift_sample"
            )
            if answer.json()["data"]["result"] and not self._silent_guards():
                return
            time.sleep(0.1)
        raise UnexpectedError(f"guards still have no data after 30 s: {', '.join(self._silent_guards())}")

    def _silent_guards(self) -> list[str]:
        return [guard["guard"] for guard in self._state()["guards"] if guard["firing"]]

    def ramp_up(self, release: str) -> None:
        """Take a release through every stage; each lasts until its data say enough."""
        self._act("start", f"{release} begins")
        self._wait("shadow", lambda _: False, seconds=3.0)
        for stage in self._rollout.stages[1:]:
            self._act("promote", f"{release} looks healthy")
            self._wait_for_new_cohort()
            enough = _full_enough if stage.percent == 100 else _canary_enough
            if not self._wait(f"{stage.name}, {stage.percent:g} %", enough):
                raise UnexpectedError(
                    f"stage {stage.name} had too few trades after {STAGE_TIMEOUT_SECONDS:g} s"
                )
        self._act("promote", f"{release} stays")
        self._wait("enabled", lambda _: False, seconds=2.0)
        self._require("ENABLED")
        self._say(f"{release} is fully on, and was never rolled back.")

    def ramp_until_rolled_back(self, release: str) -> str:
        """Take a release to its canary and wait for the guards."""
        self._act("start", f"{release} begins")
        self._wait("shadow", lambda _: False, seconds=3.0)
        self._act("promote", f"{release} looks as healthy as release 1: shadow scoring says so")
        probe = self._someone_in_the_canary()
        self._say(f"  {probe} now gets the candidate, by OpenFeature's file client and by OFREP")
        breached_at = self._wait_for_breach()
        seen_at = self._wait_for_fallback(probe)
        state = self._require("ROLLBACK")
        for key in PROBE_KEYS:
            if self._service.serves_candidate(key) or self._by_ofrep(key):
                raise UnexpectedError(f"{key} still gets the candidate after the rollback")
        self._say(f"  all {len(PROBE_KEYS)} accounts asked get the active model again, by both clients")
        return (
            f"rolled back {self._rollout.name} in {seen_at - breached_at:.2f} s "
            f"(worst case by configuration {self._worst_case():.2f} s), reason {state['reason']}"
        )

    def _act(self, verb: str, reason: str) -> None:
        entry = self._client.post(
            f"rollouts/{self._rollout.name}/{verb}", {"actor": "release engineer", "reason": reason}
        )
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

    def _wait_for_new_cohort(self) -> None:
        """Wait until the exporter has heard of the new stage from the service: its counts start afresh."""
        deadline = time.monotonic() + 5.0
        while time.monotonic() < deadline:
            measured = self._measure()
            if measured.canary_trades < 500 and measured.drift_rows < MIN_DRIFT_ROWS:
                return
            time.sleep(0.05)
        raise UnexpectedError("the exporter did not hear of the new stage within 5 s")

    def _progress(self, what: str, measured: Measured) -> None:
        drift = (
            f"PSI at most {measured.psi:.2f} of {PSI_LIMIT}"
            if measured.psi == measured.psi
            else "no drift data yet"
        )
        trades = f"{measured.canary_trades:g} canary trades, " if "canary" in what or "ramp" in what else ""
        self._say(f"    {what}: {trades}{drift}")

    def _wait_for_breach(self) -> float:
        deadline = time.monotonic() + ROLLBACK_TIMEOUT_SECONDS
        next_word = time.monotonic() + 3.0
        measured = self._measure()
        while time.monotonic() < deadline:
            measured = self._measure()
            if measured.drifts:
                now = time.time()
                self._say(f"  BREACH exposed: PSI {measured.psi:.2f}, KS {measured.ks:.2f}")
                return now
            if time.monotonic() >= next_word:
                self._progress(
                    f"canary, {measured.drift_rows:g} of {MIN_DRIFT_ROWS} rows for drift", measured
                )
                next_word += 3.0
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
        deadline = time.monotonic() + 5.0
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
        text = self._http.get(self._exporter).text
        return Measured(
            _value(text, "sample_canary"),
            _value(text, "drift_sample"),
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

    def _worst_case(self) -> float:
        """Phase of the scrape, phase of the evaluation, `for`, group_wait (0), and the client's own poll."""
        timing = Timing(SCALE, self._rollout.scrape.interval)
        guard = self._rollout.guard("DriftDetected")
        assert guard is not None
        return 2 * timing.interval + timing.seconds(guard.for_) + CLIENT_POLL_SECONDS


def _canary_enough(measured: Measured) -> bool:
    return measured.canary_trades >= 500 and measured.drift_rows >= MIN_DRIFT_ROWS


def _full_enough(measured: Measured) -> bool:
    return measured.drift_rows >= 1000


def _value(exposition: str, metric: str) -> float:
    """Return the largest sample of a metric, or NaN where there is none."""
    lines = (line for line in exposition.splitlines() if line.startswith((f"{metric} ", f"{metric}{{")))
    return max((float(line.rsplit(" ", 1)[1]) for line in lines), default=float("nan"))


def _account(entry: dict[str, Any], began: float) -> str:
    after = entry["to_stage"] or entry["to_status"].lower()
    who = f"guard {entry['guard']}" if entry["guard"] else entry["actor"]
    text = f"{entry['at'] - began:7.2f} s  run {entry['run']}  {entry['kind']:<8} → {after:<8}  by {who}"
    if entry["guard"]:
        return f"{text}\n{'':11}{entry['evidence']['annotations'].get('description', '')}"
    return f"{text}: {entry['reason']}"
