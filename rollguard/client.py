"""The control plane's JSON API, as the command line calls it."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from rollguard.errors import RollguardError
from rollguard.tokens import TokenError, read_tokens

TIMEOUT_SECONDS = 10.0
_HINT = "Name the control plane's by --token-file; `rollguard up` writes one to .rollguard/token."


class ServerError(RollguardError):
    """The control plane did not answer, or refused."""


class RefusedByServerError(ServerError):
    """The control plane understood, and said no."""


class Client:
    """Calls a control plane.

    Args:
        server: base URL.
        token_file: holds the bearer token.
        ca_file: certificates by which the server's is trusted; None for the system's.
    """

    def __init__(self, server: str, token_file: Path, ca_file: Path | None = None) -> None:
        self._server = server.rstrip("/")
        self._token_file = token_file
        self._http = httpx.Client(
            base_url=self._server,
            timeout=TIMEOUT_SECONDS,
            headers={"Authorization": f"Bearer {_token(token_file)}"},
            trust_env=False,
            verify=_trust(ca_file),
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def get(self, path: str, **query: Any) -> Any:
        """Return what the server answers to a GET; raises ServerError."""
        return self._ask(
            "GET", path, params={name: value for name, value in query.items() if value is not None}
        )

    def post(self, path: str, body: Mapping[str, Any], timeout: float = TIMEOUT_SECONDS) -> Any:
        """Return what the server answers to a POST within some seconds; raises ServerError."""
        return self._ask("POST", path, json=body, timeout=timeout)

    def history(self, rollout: str | None = None, after: int = 0) -> Iterator[dict[str, Any]]:
        """Yield the ledger's entries after a number, page by page; raises ServerError."""
        while entries := self.get("history", rollout=rollout, after=after):
            yield from entries
            after = entries[-1]["seq"]

    def flag(self, key: str) -> Any:
        """Return a flag's value by OFREP, as an application would see it; raises ServerError."""
        return self._ask("POST", f"evaluate/flags/{key}", base="/ofrep/v1", json={})["value"]

    def _ask(self, method: str, path: str, base: str = "/api/v1", **options: Any) -> Any:
        try:
            answer = self._http.request(method, f"{base}/{quote(path)}", **options)
        except httpx.HTTPError as error:
            raise ServerError(
                f"no control plane answers at {self._server}: {str(error).rstrip('.')}.\n"
                "  Start one with `rollguard up`, or name it by --server."
            ) from error
        if answer.is_success:
            return self._content(answer)
        if answer.status_code == 401:
            raise ServerError(
                f"the control plane at {self._server} refuses the token in {self._token_file}.\n  {_HINT}"
            )
        text = _error_text(answer)
        refused = answer.status_code in {403, 404, 409}
        raise (RefusedByServerError if refused else ServerError)(text)

    def _content(self, answer: httpx.Response) -> Any:
        try:
            return answer.json()
        except ValueError as error:
            raise ServerError(
                f"what answers at {self._server} is no control plane.\n  Name it by --server."
            ) from error


def _trust(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise ServerError(f"the certificates in {ca_file} cannot be used: {error}.") from error


def _token(path: Path) -> str:
    try:
        return read_tokens(path)[0].decode("ascii")
    except TokenError as error:
        raise TokenError(f"{error}\n  {_HINT}") from error


def _error_text(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        return f"the control plane answered {answer.status_code}."
