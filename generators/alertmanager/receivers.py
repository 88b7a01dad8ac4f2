"""Who is told: the control plane, chat, e-mail and a service that notices silence; secrets stay in files."""

from __future__ import annotations

from pathlib import Path
from string import Template
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from rollguard.conventions import ROLLBACK_RECEIVER
from rollguard.errors import FileProblemsError
from rollguard.generators.scrape import Addresses
from rollguard.spec.fields import Listed, Model
from rollguard.spec.messages import translated
from rollguard.yamlfile import read

WATCHDOG_RECEIVER = "rollguard-watchdog"
PEOPLE = "rollguard-people"
PLATFORM_RECEIVER = "rollguard-platform"
EMAIL_RECEIVER = "rollguard-email"
NOTICE_RECEIVER = "rollguard-notices"

SETTINGS_FILE = Path("alerts/routing.yaml")
"""Where the settings are, unless told otherwise; without the file nobody but the control plane is told."""

_TITLE = (
    "{{ .Status | toUpper }} {{ .CommonLabels.alertname }}"
    "{{ with .CommonLabels.rollout }} of {{ . }}{{ end }}"
)
_TEXT = Template(
    "{{ range .Alerts }}{{ .Annotations.summary }} {{ .Annotations.description }}"
    " (severity {{ .Labels.severity }}, action {{ .Labels.action }})$links\n"
    "{{ end }}"
)
_LINK = Template(
    "{{ with .Annotations.$key }} {{ if not (match `^https?://` .) }}$base{{ end }}{{ . }}{{ end }}"
)

_Words = Annotated[str, Field(min_length=1)]


class Chat(Model):
    """A Slack-compatible incoming webhook."""

    api_url_file: _Words = Field(description="File with the webhook's address, as Alertmanager sees it.")
    channel: _Words | None = None


class Email(Model):
    """A mail server, and who is written to."""

    to: Listed[Annotated[str, Field(pattern=r"^[^@\s,]+@[^@\s,]+$")]] = Field(min_length=1)
    from_: _Words = Field(alias="from")
    smarthost: Annotated[str, Field(pattern=r"^[A-Za-z0-9.-]+:[0-9]{1,5}$")]
    auth_username: _Words | None = None
    auth_password_file: _Words | None = Field(None, description="File with the password.")
    require_tls: bool = True

    @model_validator(mode="after")
    def _whole_login(self) -> Email:
        if (self.auth_username is None) != (self.auth_password_file is None):
            raise ValueError("expected auth_username and auth_password_file together")
        return self


class Watchdog(Model):
    """A service that expects a call every half minute, and calls you when none comes."""

    url: Annotated[str, Field(pattern=r"^https?://\S+$")]


_Base = Annotated[str, Field(pattern=r"^https?://[^\s{}`\"]+$")]


class Links(Model):
    """Where the relative addresses that alerts carry begin, for those who are told of them."""

    runbooks: _Base | None = Field(None, description="Of the folder that holds docs/runbooks, on the web.")
    dashboards: _Base | None = Field(None, description="Of Grafana.")


class Routing(Model):
    """The settings: who is told beside the control plane."""

    links: Links = Links()
    chat: Chat | None = None
    email: Email | None = None
    watchdog: Watchdog | None = None

    @property
    def people(self) -> bool:
        """Whether any person is told."""
        return self.chat is not None or self.email is not None


def load_routing(path: Path | None) -> Routing:
    """Return the settings of a file.

    Args:
        path: a YAML file; None for the usual one, where it exists.
    Raises:
        FileProblemsError: all that is wrong with it.
    """
    if path is None:
        if not SETTINGS_FILE.exists():
            return Routing()
        path = SETTINGS_FILE
    document = read(path)
    problems = list(document.problems)
    try:
        found = Routing.model_validate(document.data or {}, by_alias=True, by_name=False)
    except ValidationError as error:
        raise FileProblemsError([*problems, *translated(document, error, Routing)]) from error
    if problems:
        raise FileProblemsError(problems)
    return found


def receivers(routing: Routing, addresses: Addresses, *, nobody: bool) -> list[dict[str, Any]]:
    """Return the receivers.

    Args:
        routing: the settings.
        addresses: of the control plane, and the token file.
        nobody: keep the receivers of people where there is no chat and no e-mail.
    """
    webhook = _webhook(addresses)
    heartbeat = [webhook]
    if routing.watchdog:
        heartbeat.append({"url": routing.watchdog.url, "send_resolved": False})
    found: list[dict[str, Any]] = [
        {"name": ROLLBACK_RECEIVER, "webhook_configs": [webhook]},
        {"name": WATCHDOG_RECEIVER, "webhook_configs": heartbeat},
    ]
    if routing.people or nobody:
        text = _text(routing.links)
        chat = {"slack_configs": [_chat(routing.chat, text)]} if routing.chat else {}
        mail = {"email_configs": _mails(routing.email, text)} if routing.email else {}
        found.append({"name": PEOPLE, **(chat or mail)})
        found.append({"name": PLATFORM_RECEIVER, **chat, **mail})
        found.append({"name": NOTICE_RECEIVER, **_once(chat), **_once(mail)})
        if chat and mail:
            found.append({"name": EMAIL_RECEIVER, **mail})
    return found


def _once(integrations: dict[str, Any]) -> dict[str, Any]:
    """Return integrations that do not tell that an alert has ended: a notice ends by itself."""
    return {
        kind: [{**config, "send_resolved": False} for config in configs]
        for kind, configs in integrations.items()
    }


def _webhook(addresses: Addresses) -> dict[str, Any]:
    return {
        "url": f"http://{addresses.control_plane}/alerts",
        "send_resolved": True,
        "http_config": {
            # A redirect would turn the POST into a GET that counts as delivered.
            "follow_redirects": False,
            "authorization": {"type": "Bearer", "credentials_file": addresses.token_file},
        },
    }


def _text(links: Links) -> str:
    """Return the template of what people read of an alert; a dashboard only where its link leads to one."""
    pages = links.runbooks.rstrip("/") + "/" if links.runbooks else ""
    found = _LINK.substitute(key="runbook_url", base=pages)
    if links.dashboards:
        found += _LINK.substitute(key="dashboard_url", base=links.dashboards.rstrip("/"))
    return _TEXT.substitute(links=found)


def _chat(chat: Chat, text: str) -> dict[str, Any]:
    return {
        "api_url_file": chat.api_url_file,
        **({"channel": chat.channel} if chat.channel else {}),
        "send_resolved": True,
        "title": _TITLE,
        "text": text,
    }


def _mails(email: Email, text: str) -> list[dict[str, Any]]:
    login = {"auth_username": email.auth_username, "auth_password_file": email.auth_password_file}
    return [
        {
            "to": ", ".join(email.to),
            "from": email.from_,
            "smarthost": email.smarthost,
            **(login if email.auth_username else {}),
            "require_tls": email.require_tls,
            "send_resolved": True,
            "headers": {"Subject": _TITLE},
            "text": text,
        }
    ]
