"""Sending through Apprise, which knows many services. It is an extra, imported when a route asks for it."""

from __future__ import annotations

import asyncio
import importlib
import logging
from dataclasses import dataclass, field
from typing import Any

from reconciler.model.alert import Answer, Notification, Severity, Verdict
from reconciler.model.errors import UsageError

DEADLINE_S = 30.0
_KINDS = {Severity.INFO: "info", Severity.WARNING: "warning", Severity.CRITICAL: "failure"}
RESOLVED = "success"


@dataclass(slots=True, kw_only=True)
class AppriseSink:
    """One address of Apprise. It says only whether it went well, so whatever fails is tried again."""

    notifier: Any = field(repr=False)
    deadline_s: float = DEADLINE_S

    async def send(self, notification: Notification) -> Answer:
        kind = RESOLVED if notification.over else _KINDS[notification.severity]
        try:
            async with asyncio.timeout(self.deadline_s):
                good = await self.notifier.async_notify(
                    body=notification.text, title=notification.title, notify_type=kind, body_format="text"
                )
        except TimeoutError:
            return Answer(verdict=Verdict.LATER, text=f"not sent within {self.deadline_s:g} s")
        except Exception as error:  # noqa: BLE001 - plugins of a hundred services; their words may hold the address
            return Answer(verdict=Verdict.LATER, text=f"Apprise failed: {type(error).__name__}")
        if good:
            return Answer(verdict=Verdict.SENT, text="sent")
        return Answer(verdict=Verdict.LATER, text="Apprise says that it was not sent")

    async def close(self) -> None:
        """Apprise keeps nothing open."""


def open_apprise(route: str, address: str) -> AppriseSink:
    """The sink for an address of Apprise. Raises UsageError where Apprise is not there, or does not know it."""
    try:
        apprise = importlib.import_module("apprise")
    except ImportError as error:
        raise UsageError(
            f"alert route {route}: Apprise is not installed",
            hint="pip install 'reconciler[apprise]', where the daemon runs",
        ) from error
    logger = logging.getLogger("apprise")  # its lines hold addresses, and those hold secrets
    logger.handlers = [logging.NullHandler()]
    logger.propagate = False
    notifier = apprise.Apprise()
    if not notifier.add(address):
        raise UsageError(
            f"alert route {route}: Apprise does not know this address (it is not shown)",
            hint="its documentation lists what addresses of services look like",
        )
    return AppriseSink(notifier=notifier)
