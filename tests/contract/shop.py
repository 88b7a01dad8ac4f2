"""A service to release, and a real Prometheus that watches it by rendered rules: a minute in a second."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from rollguard.cli.local.processes import Child, free_port
from rollguard.generators import output
from rollguard.generators.scrape import Addresses
from rollguard.monitoring.prometheus import Prometheus
from rollguard.spec.loading import load_rollout
from tests.polling import eventually

SCALE = 60.0
"""Of 15 s remain 250 ms, of a minute a second."""

FILE = """
rollout: shop
title: A new shop
owner: shop
scrape: {{job: shop, targets: ["{target}"]}}
flag: {{key: shop, variants: {{"new": true, "old": false}}, serve: "new", fallback: "old"}}
stages:
  - {{name: canary, percent: 10, hold: 1m}}
  - {{name: half, percent: 50, hold: 1h}}
  - {{name: full, percent: 100, approve: manual}}
guards:
  - alert: TooSlow
    use: threshold
    with: {{metric: delay_seconds, above: 2}}
    clear_for: 3m
    severity: warning
    action: hold
  - alert: TooWrong
    use: threshold
    with: {{metric: error_ratio, above: 0.5}}
    for: 1h
    severity: critical
    action: rollback
  - alert: WorseThanBefore
    use: trails-baseline
    with:
      metric: error_ratio
      baseline: error_ratio_before
      delta_ratio: 0.95
      worse: higher
      sample: orders
      min_sample: 50
    severity: critical
    action: rollback
advance:
  - {{name: enough, stages: [canary], when: end, expr: orders >= 100}}
  - {{name: well rated, stages: [canary], when: throughout, expr: rating > 3}}
  - {{name: of one, stages: [half], expr: by_country > 0}}
"""
HEALTHY = {
    "delay_seconds": "1",
    "error_ratio": "0",
    "error_ratio_before": "0",
    "orders": "100",
    "rating": "4",
}


class Service:
    """What is scraped: a metric for each name, changed at will."""

    def __init__(self) -> None:
        self.metrics = dict(HEALTHY)
        service = self

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                page = service.page().encode()
                self.send_response(200)
                self.send_header("content-type", "text/plain; version=0.0.4")
                self.end_headers()
                with suppress(BrokenPipeError):  # of a Prometheus that ends
                    self.wfile.write(page)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.address = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def page(self) -> str:
        """Return what is scraped now."""
        return "".join(f"{name} {value}\n" for name, value in self.metrics.items())

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Shop:
    """The service, its rollout, and the Prometheus."""

    def __init__(self, folder: Path, binary: str) -> None:
        self.service = Service()
        self.path = folder / "shop.yaml"
        self.path.write_text(FILE.format(target=self.service.address))
        self.rollout = load_rollout(self.path)
        at = f"127.0.0.1:{free_port()}"
        files = output.generate([self.rollout], SCALE, Addresses(prometheus=at))
        output.write(files, folder / "config")
        self.url = f"http://{at}"
        command = [
            binary,
            f"--config.file={folder / 'config' / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={at}",
        ]
        self.process = Child("prometheus", command, folder / "log", f"{self.url}/-/ready")
        self.process.start()
        self.process.wait_until_ready(30)

    def fires(self, guard: str) -> bool:
        """Return whether an alert of a guard fires."""
        with closing(Prometheus(self.url)) as prometheus:
            return bool(prometheus.query(f'ALERTS{{guard="{guard}", alertstate="firing"}}'))

    def close(self) -> None:
        self.process.stop()
        self.service.close()


@contextmanager
def running_shop(folder: Path, binary: str) -> Iterator[Shop]:
    """Yield the shop once it is watched."""
    shop = Shop(folder, binary)
    prometheus = Prometheus(shop.url)
    try:
        eventually(lambda: prometheus.query("orders") and prometheus.query("rollguard_rules_info"))
        yield shop
    finally:
        prometheus.close()
        shop.close()
