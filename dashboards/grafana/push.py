"""Dashboards into a Grafana that exists already: all of them or none, and only what differs."""

from __future__ import annotations

import difflib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import httpx

from rollguard.errors import RollguardError

Dashboard: TypeAlias = Mapping[str, Any]
Kind: TypeAlias = Literal["new", "changed", "moved", "unchanged"]

TIMEOUT_SECONDS = 10.0
_TRIES = 3
_WAIT_SECONDS = 0.5
_GRAFANAS_OWN = ("id", "version", "schemaVersion")
"""Keys that Grafana sets itself, or brings up to date when it reads a dashboard."""


class GrafanaError(RollguardError):
    """Grafana cannot be reached, or refuses something."""


@dataclass(frozen=True)
class Change:
    """What becomes of one dashboard.

    Args:
        uid: its address.
        title: as a person reads it.
        kind: whether Grafana lacks it, has it otherwise, in another folder, or just so.
        diff: what changes, line by line.
    """

    uid: str
    title: str
    kind: Kind
    diff: str = ""


@dataclass(frozen=True)
class _Stored:
    """A dashboard as Grafana has it."""

    dashboard: dict[str, Any]
    folder: str


class Grafana:
    """Grafana's HTTP API, as far as dashboards need it.

    Args:
        url: base URL, with the path that it is served under, if any.
        token: of a service account that may write dashboards and folders.
        transport: of HTTP, for tests; default: the network.
        sleep: waits some seconds before another try.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._url, self._sleep = url.rstrip("/"), sleep
        headers = {"Authorization": f"Bearer {token}"}
        self._http = httpx.Client(headers=headers, timeout=TIMEOUT_SECONDS, transport=transport)

    def push(
        self, dashboards: Sequence[Dashboard], folder: str, folder_title: str, *, dry_run: bool = False
    ) -> list[Change]:
        """Bring Grafana's dashboards to what they should be; where one is refused, all stay as they were.

        Args:
            dashboards: as the generated files have them.
            folder: uid of the folder; it is made where it is missing.
            folder_title: how a person reads it.
            dry_run: change nothing.
        Returns:
            What changed, or would, in the order given.
        Raises:
            GrafanaError: which dashboard was refused, why, and what to do.
        """
        stored = {one["uid"]: self._stored(one) for one in dashboards}
        changes = [_change(one, stored[one["uid"]], folder) for one in dashboards]
        due = [one for one, change in zip(dashboards, changes, strict=True) if change.kind != "unchanged"]
        if dry_run or not due:
            return changes
        self._make_folder(folder, folder_title)
        written: list[Dashboard] = []
        try:
            for one in due:
                self._write(one, stored[one["uid"]], folder)
                written.append(one)
        except GrafanaError as error:
            left = self._undo(written, stored)
            raise GrafanaError(f"{error}\n  {_what_is_left(left)}") from error
        return changes

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _stored(self, dashboard: Dashboard) -> _Stored | None:
        answer = self._ask("GET", f"/api/dashboards/uid/{dashboard['uid']}", _name(dashboard))
        if answer.status_code == httpx.codes.NOT_FOUND and _object(answer) is not None:
            return None  # a server that is no Grafana says so in other words
        found = self._content(answer, _name(dashboard))
        return _Stored(found["dashboard"], found.get("meta", {}).get("folderUid", ""))

    def _make_folder(self, folder: str, title: str) -> None:
        name = f"the folder {title}"
        answer = self._ask("GET", f"/api/folders/{folder}", name)
        if answer.status_code == httpx.codes.NOT_FOUND:
            answer = self._ask("POST", "/api/folders", name, {"uid": folder, "title": title})
        self._content(answer, name)

    def _write(self, dashboard: Dashboard, before: _Stored | None, folder: str) -> None:
        """Write one dashboard over the version that was read, and over no other."""
        version = {"version": before.dashboard.get("version", 0)} if before else {}
        body = {
            "dashboard": {**dashboard, "id": None, **version},
            "folderUid": folder,
            "message": "rollguard dashboards push",
            "overwrite": False,
        }
        self._content(self._ask("POST", "/api/dashboards/db", _name(dashboard), body), _name(dashboard))

    def _undo(self, written: Sequence[Dashboard], stored: Mapping[str, _Stored | None]) -> list[str]:
        """Put back what was there before; return the names of the dashboards for which that failed."""
        left = []
        for one in reversed(written):
            before, name = stored[one["uid"]], _name(one)
            try:
                if before is None:
                    self._content(self._ask("DELETE", f"/api/dashboards/uid/{one['uid']}", name), name)
                    continue
                body = {"dashboard": before.dashboard, "folderUid": before.folder, "overwrite": True}
                self._content(self._ask("POST", "/api/dashboards/db", name, body), name)
            except GrafanaError:
                left.append(name)
        return left

    def _ask(
        self, method: str, path: str, name: str, body: Mapping[str, Any] | None = None
    ) -> httpx.Response:
        """Return Grafana's answer, after some tries where it is out of breath."""
        for remaining in reversed(range(_TRIES)):
            try:
                answer = self._http.request(method, self._url + path, json=body)
            except httpx.TransportError as error:
                if not remaining:
                    raise GrafanaError(
                        f"{name}: nobody answers at {self._url}: {error}.\n"
                        "  Is --url right, and does Grafana run?"
                    ) from error
            else:
                if not answer.is_server_error or not remaining:
                    return answer
            self._sleep(_WAIT_SECONDS * 2 ** (_TRIES - 1 - remaining))
        raise AssertionError("the last try returns or raises")

    def _content(self, answer: httpx.Response, name: str) -> dict[str, Any]:
        found = _object(answer)
        if answer.is_success and found is not None:
            return found
        said = found.get("message", "") if found else ""
        raise GrafanaError(f"{name}: {_refusal(answer, str(said), self._url)}")


def _object(answer: httpx.Response) -> dict[str, Any] | None:
    """Return the JSON object that an answer holds; None for anything else."""
    try:
        found = answer.json()
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _name(dashboard: Dashboard) -> str:
    return f"{dashboard['title']} ({dashboard['uid']})"


def _change(wanted: Dashboard, stored: _Stored | None, folder: str) -> Change:
    uid, title = wanted["uid"], wanted["title"]
    if stored is None:
        return Change(uid, title, "new")
    before, after = _lines(_alike(stored.dashboard, wanted)), _lines(_alike(wanted, wanted))
    if before != after:
        diff = difflib.unified_diff(before, after, f"{uid} in Grafana", f"{uid} here", lineterm="", n=2)
        return Change(uid, title, "changed", "\n".join(diff))
    return Change(uid, title, "unchanged" if stored.folder == folder else "moved")


def _alike(found: Any, wanted: Any) -> Any:
    """Return of what Grafana has only what was asked for: it adds keys of its own when it reads."""
    if isinstance(found, dict) and isinstance(wanted, Mapping):
        return {
            key: _alike(value, wanted[key])
            for key, value in found.items()
            if key in wanted and key not in _GRAFANAS_OWN
        }
    if isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
        return [_alike(one, other) for one, other in zip(found, wanted, strict=True)]
    return found


def _lines(dashboard: Any) -> list[str]:
    return json.dumps(dashboard, indent=1, sort_keys=True, ensure_ascii=False).splitlines()


_HINTS: Mapping[int, str] = {
    400: "Was it provisioned from a file? Then Grafana takes it from there only: change the file.",
    401: "Is the token in --token-file one of this Grafana, and not expired?",
    403: "The service account needs the role Editor, or the permission to write dashboards and folders.",
    404: "Is --url the base URL of Grafana, with the path it is served under?",
    412: "Somebody saved it meanwhile, or another one of the folder has its title: look, then push again.",
}


def _refusal(answer: httpx.Response, said: str, url: str) -> str:
    code = answer.status_code
    if answer.is_server_error:
        hint = "Grafana is out of breath or broken: read its log, then push again."
    else:
        hint = _HINTS.get(code, f"Is there a Grafana at {url}?")
    return f"Grafana answered {code}{f' ({said})' if said else ''}.\n  {hint}"


def _what_is_left(left: Sequence[str]) -> str:
    if not left:
        return "Nothing was changed: what had been written was put back."
    return f"What had been written was put back, but for: {', '.join(left)}. Push again when Grafana answers."
