"""Metrics over HTTP: `/metrics` for Prometheus, 503 until they are whole, a page at `/` for people."""

from __future__ import annotations

import html
import logging
import socket
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from rollguard.errors import RollguardError

logger = logging.getLogger(__name__)

_TEXT = "text/plain; charset=utf-8"
_PAGE = """<!doctype html><html lang="en"><head><title>{title}</title></head>
<body><h1>{title}</h1><p><a href="/metrics">Metrics</a></p><p>{behind}</p></body></html>
"""


class ListenError(RollguardError):
    """The address is none, or cannot be listened on."""


class MetricsServer:
    """Serves a collector in threads of its own, from `with` to its end.

    Args:
        listen: host:port, such as 127.0.0.1:9841 or [::1]:9841; port 0 takes a free one.
        collector: asked at every scrape.
        behind: why the numbers are not yet whole, a sentence; empty once they are.
        title: of the page.
    Raises:
        ListenError: the address is none, or is taken.
    """

    def __init__(self, listen: str, collector: Collector, behind: Callable[[], str], title: str) -> None:
        host, port = _parse(listen)
        try:
            self._server = _Server((host, port), socket.AF_INET6 if ":" in host else socket.AF_INET)
        except OSError as error:
            raise ListenError(f"cannot listen on {listen}: {error.strerror or error}") from error
        self._server.registry.register(collector)
        self._server.behind = behind
        self._server.title = title
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

    def __init__(self, address: tuple[str, int], family: socket.AddressFamily) -> None:
        self.address_family = family
        self.registry = CollectorRegistry(auto_describe=False)
        self.behind: Callable[[], str] = str
        self.title = ""
        super().__init__(address, _Handler)

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
        if path == "/metrics":
            self._metrics()
        elif path == "/":
            behind = html.escape(self.server.behind())
            page = _PAGE.format(title=html.escape(self.server.title), behind=behind)
            self._answer(HTTPStatus.OK, "text/html; charset=utf-8", page.encode())
        else:
            self._answer(HTTPStatus.NOT_FOUND, _TEXT, b"There are / and /metrics.\n")

    def _metrics(self) -> None:
        if behind := self.server.behind():
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, _TEXT, f"{behind}\n".encode())
            return
        encoder, content_type = choose_encoder(self.headers.get("Accept", ""))
        try:
            body = encoder(self.server.registry)
        except Exception:
            logger.exception("the metrics cannot be collected")
            self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, _TEXT, b"The log of the exporter says why.\n")
        else:
            self._answer(HTTPStatus.OK, content_type, body)

    def _answer(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
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
