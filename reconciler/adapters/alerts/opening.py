"""From a route to its sink: addresses and keys out of the environment, checked without ever being shown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from reconciler.adapters.alerts.posting import Poster
from reconciler.adapters.alerts.sinks import AlertmanagerSink, PagerDutySink, SlackSink, WebhookSink
from reconciler.model.agent import AlertRoute
from reconciler.model.errors import UsageError
from reconciler.ports import AlertSink, Clock

_ADDRESS = re.compile(r"[^\s@<>,;:\"()\[\]]{1,64}@[^\s@<>,;\"()]{1,255}\Z")
_OWN = ("ARANGO_", "RECONCILER_")
"""What the daemon's own credentials begin with: whoever writes a route may not have one of them sent to a receiver."""
_KEYS = ("secretEnv", "tokenEnv")
_ROUTING_KEY = re.compile(r"[A-Za-z0-9]{32}\Z")


def open_sink(route: AlertRoute, environment: Mapping[str, str], clock: Clock) -> AlertSink:
    """The sink of a route, which the caller closes. Raises UsageError for settings that cannot be used."""
    given = _Given(route, environment)
    match route.receiver:
        case "webhook":
            return WebhookSink(poster=Poster(clock=clock), url=given.url("urlEnv"), secret=given.value("secretEnv"))
        case "slack":
            return SlackSink(poster=Poster(clock=clock), url=given.url("urlEnv"))
        case "pagerduty":
            key = given.value("routingKeyEnv")
            if not _ROUTING_KEY.match(key):  # nothing else that the environment holds is to be sent there
                raise given.wrong("routingKeyEnv", "is no routing key (32 letters and digits)")
            url = {"url": given.url("urlEnv")} if given.names("urlEnv") else {}
            return PagerDutySink(poster=Poster(clock=clock), routing_key=key, **url)
        case "alertmanager":
            return AlertmanagerSink(poster=Poster(clock=clock), url=given.url("urlEnv"), token=given.value("tokenEnv"))
        case "email":
            return _mail(given, route)
        case "apprise":
            from reconciler.adapters.alerts.through_apprise import open_apprise

            return open_apprise(route.name, given.value("urlEnv"))
        case _:
            raise UsageError(f"alert route {route.name}: there is no receiver {route.receiver!r}")


def _mail(given: _Given, route: AlertRoute) -> AlertSink:
    from reconciler.adapters.alerts.mail import SCHEMES, MailSink, Server

    server = Server.parse(given.url("smtpEnv", SCHEMES))
    sender = str(route.settings.get("from") or "") or (
        server.user if "@" in server.user else f"reconciler@{server.host}"
    )
    to = tuple(map(str, route.settings.get("to") or ()))
    for address in (sender, *to):
        if not _ADDRESS.match(address):
            raise UsageError(
                f"alert route {route.name}: {address[:80]!r} is no address of mail", hint="like on-call@acme.example"
            )
    return MailSink(server=server, sender=sender, to=to)


class _Given:
    """What a route says, and what the environment holds for it."""

    def __init__(self, route: AlertRoute, environment: Mapping[str, str]) -> None:
        self._route = route
        self._environment = environment

    def names(self, field: str) -> str:
        """The variable that a field names; "" where it does not."""
        return str(self._route.settings.get(field) or "")

    def value(self, field: str) -> str:
        """What that variable holds; "" where none is named. Raises UsageError where it is not set."""
        name = self.names(field)
        if field in _KEYS and name.startswith(_OWN):
            raise UsageError(
                f"alert route {self._route.name}: {name} may be a credential of the daemon, and is sent to no receiver",
                hint=f"give what {self._route.receiver}.{field} names a name that does not begin with "
                f"{' or '.join(_OWN)}, there and where the daemon runs",
            )
        value = self._environment.get(name, "").strip() if name else ""
        if name and not value:
            raise UsageError(
                f"alert route {self._route.name}: the environment variable {name} is not set",
                hint=f"{self._route.receiver}.{field} names it; set it where the daemon runs",
            )
        return value

    def url(self, field: str, schemes: tuple[str, ...] = ("http", "https")) -> str:
        """An address out of the environment. Raises UsageError for what is none."""
        value = self.value(field)
        try:
            parts: Any = urlsplit(value)
            good = parts.scheme in schemes and bool(parts.hostname) and (parts.port is None or parts.port > 0)
        except ValueError:
            good = False
        if not good or any(letter.isspace() or not letter.isprintable() for letter in value):
            raise self.wrong(field, f"is no address that begins with {' or '.join(f'{one}://' for one in schemes)}")
        return value

    def wrong(self, field: str, problem: str) -> UsageError:
        return UsageError(
            f"alert route {self._route.name}: what {self.names(field)} holds {problem}",
            hint=f"{self._route.receiver}.{field} names it; the value is not shown, it may be a secret",
        )
