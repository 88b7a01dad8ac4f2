"""Metrics over HTTP: `/metrics` for Prometheus, 503 until they are whole, a page at `/` for people."""

from __future__ import annotations

import gzip
import logging
import socket
import sys
import threading
from collections.abc import Iterable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Protocol

from rollguard.errors import RollguardError
from rollguard.exporters.exposition.families import Family
from rollguard.exporters.exposition.text import OPENMETRICS, TEXT, Exposition
from rollguard.exporters.exposition.zero_start import ZeroStart
from rollguard.exporters.runtime.page import page

logger = logging.getLogger(__name__)

_TEXT = "text/plain; charset=utf-8"
_GZIP_LEVEL = 1
"""The library's level 9 costs fifteen times as much for a sixth less."""


class ListenError(RollguardError):
    """The address is none, or cannot be listened on."""


class Scraped(Protocol):
    """What a scrape asks, from any thread."""

    def families(self) -> Iterable[Family]:
        """Return the metrics as of now."""

    def behind(self) -> str:
        """Return why the numbers are not yet whole, a sentence; empty once they are."""

    def status(self) -> Iterable[str]:
        """Return lines for people: how it goes with each source, and with the whole."""


class MetricsServer:
    """Serves metrics in threads of its own, from `with` to its end.

    Args:
        listen: host:port, such as 127.0.0.1:9841 or [::1]:9841; port 0 takes a free one.
        scraped: asked at every scrape.
        title: of the page.
    Raises:
        ListenError: the address is none, or is taken.
    """

    def __init__(self, listen: str, scraped: Scraped, title: str) -> None:
        host, port = _parse(listen)
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self._server = _Server((host, port), family, scraped, title)
        except OSError as error:
            raise ListenError(f"cannot listen on {listen}: {error.strerror or error}") from error
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self._server.server_address[1]}/metrics"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> MetricsServer:
        self._thread.start()
        logger.info("serving %s", self.url)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(
        self, address: tuple[str, int], family: socket.AddressFamily, scraped: Scraped, title: str
    ) -> None:
        self.address_family = family
        self.scraped = scraped
        self.title = title
        self._exposition = Exposition()
        self._births = ZeroStart()
        self._rendering = threading.Lock()
        super().__init__(address, _Handler)

    def metrics(self, accept: str) -> tuple[str, bytes]:
        """Return the metrics and their content type, in the form that is asked for."""
        found = list(self.scraped.families())
        with self._rendering:
            families = self._births.shown(found)
            if "application/openmetrics-text" in accept:
                return OPENMETRICS, self._exposition.openmetrics(families)
            return TEXT, self._exposition.text(families)

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exception()
        if not isinstance(error, ConnectionError | TimeoutError):
            logger.error("a request failed", exc_info=error)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30
    disable_nagle_algorithm = True  # the body would wait 40 ms for the head's acknowledgement
    server: _Server

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        try:
            if path == "/metrics":
                answer = self._metrics()
            elif path == "/":
                answer = HTTPStatus.OK, "text/html; charset=utf-8", self._page()
            else:
                answer = HTTPStatus.NOT_FOUND, _TEXT, b"There are / and /metrics.\n"
        except Exception:
            logger.exception("the metrics cannot be collected")
            answer = HTTPStatus.INTERNAL_SERVER_ERROR, _TEXT, b"The log of the exporter says why.\n"
        self._answer(*answer)

    def _page(self) -> bytes:
        scraped = self.server.scraped
        text = page(self.server.title, scraped.behind(), scraped.status(), scraped.families())
        return text.encode(errors="replace")

    def _metrics(self) -> tuple[HTTPStatus, str, bytes]:
        if behind := self.server.scraped.behind():
            return HTTPStatus.SERVICE_UNAVAILABLE, _TEXT, f"{behind}\n".encode()
        return HTTPStatus.OK, *self.server.metrics(self.headers.get("Accept", ""))

    def _answer(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        if "gzip" in self.headers.get("Accept-Encoding", ""):
            body = gzip.compress(body, _GZIP_LEVEL)
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        logger.debug(format, *args)


def _parse(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ListenError(
            f"{listen!r} is no address to listen on\n  Write host:port, such as 127.0.0.1:9841."
        )
    return host, int(port)
