"""The story that `make demo` tells: a healthy release is ramped and stays; a defective one is rolled back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from openfeature import api

from demo import market, models
from demo.features import FEATURES
from demo.registry import Registry
from demo.scene import Say, Scene
from demo.service import Files, TradingService, flag_client
from demo.signals import TRADING_DAY_MINUTES, stream
from rollguard.cli.local.stack import Settings, Stack
from rollguard.control.evidence import said
from rollguard.exporters.measures.reference import Reference
from rollguard.spec.loading import load_rollout
from rollguard.spec.rollout import Rollout

SCALE = 60.0
ROLLOUT = Path(__file__).resolve().parent.parent / "rollouts" / "model-canary.yaml"

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


class Story:
    """One telling.

    Args:
        folder: an empty folder for everything that it writes.
        seed: draws the first day and what is synthetic.
        defect: whether the second release has its defect.
        say: prints a line.
    """

    def __init__(self, folder: Path, seed: int, defect: bool, say: Say) -> None:
        self._folder, self._seed, self._defect, self._say = folder, seed, defect, say
        self._rollout = _without_redis(load_rollout(ROLLOUT))
        self._registry = Registry(folder / "models" / "registry")
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
        prepare(self._folder, self._files, bars)
        self._registry.add("model-1")
        self._registry.activate("model-1")
        self._registry.add("model-2")
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
            scene = Scene(self._rollout, stack, client, service, self._say)
            scene.wait_for_data()
            self._say("\nRelease 1, healthy: ramped stage by stage.")
            scene.ramp_up("release 1")
            service.promote_candidate()
            self._registry.add("model-3")
            service.deploy(second)
            self._say(f"\nRelease 2{self._what_is_new()}")
            outcome = scene.ramp_until_rolled_back("release 2")
            self._say(f"  the registry's active model is {self._registry.active}, as before")
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
            f"is above (most do). Days come in their real order, the first drawn by seed {self._seed}; "
            f"a trade lasts {TRADING_DAY_MINUTES} minute,\nand the clock runs {SCALE:g} times as fast. "
            "Orders, fills and markouts are synthetic: daily bars hold none."
        )

    def _what_is_new(self) -> str:
        if not self._defect:
            return ", the same again: no guard has a reason to fire."
        return ": its live path swaps the day's return and volume. Shadow scoring cannot see it."

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


def prepare(folder: Path, files: Files, bars: market.Bars) -> None:
    """Write the application's configuration, no events yet, and the reference of its features.

    Args:
        folder: where all of it is.
        files: what the service shares with Rollguard.
        bars: the market's past.
    """
    for path in (files.events, files.config):
        path.parent.mkdir(parents=True, exist_ok=True)
    files.events.touch()
    rows = models.early_years(bars).features.T
    source = f"{market.__name__}: years before {models.LIVE_SINCE.year}"
    reference = Reference.fit(dict(zip(FEATURES, rows, strict=True)), source=source, made_at=time.time())
    reference.save(folder / "var" / "reference.json")
    files.config.write_text(_APP_CONFIG, encoding="utf-8")


def _without_redis(rollout: Rollout) -> Rollout:
    """Return the rollout without its target in Redis, which does not run here."""
    targets = tuple(target for target in rollout.targets if not target.redis_stream)
    return rollout.model_copy(update={"targets": targets})


def _account(entry: dict[str, Any], began: float) -> str:
    after = entry["to_stage"] or entry["to_status"].lower()
    who = f"guard {entry['guard']}" if entry["guard"] else entry["actor"]
    text = f"{entry['at'] - began:7.2f} s  run {entry['run']}  {entry['kind']:<8} → {after:<8}  by {who}"
    if entry["guard"]:
        return f"{text}\n{'':11}{said(entry['evidence'])}"
    return f"{text}: {entry['reason']}"
