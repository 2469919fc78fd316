"""The sinks that speak HTTP: each makes a request of a notification, one Poster sends it."""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass, field
from typing import Any

from reconciler.adapters.alerts import bodies
from reconciler.adapters.alerts.posting import Poster, Request
from reconciler.model.alert import Answer, Notification

PAGERDUTY = "https://events.pagerduty.com/v2/enqueue"
ALERTMANAGER_PATH = "/api/v2/alerts"
DELIVERY = "X-Reconciler-Delivery"
TIMESTAMP = "X-Reconciler-Timestamp"
SIGNATURE = "X-Reconciler-Signature"


@dataclass(slots=True, kw_only=True)
class WebhookSink:
    """Posts our own format. With a `secret` it is signed together with the time, so that nobody can repeat it later."""

    poster: Poster
    url: str = field(repr=False)
    secret: str = field(default="", repr=False)

    async def send(self, notification: Notification) -> Answer:
        body = _json(bodies.webhook(notification))
        at = str(self.poster.clock.now_ms() // 1000)
        headers = {DELIVERY: notification.id, TIMESTAMP: at}
        if self.secret:
            headers[SIGNATURE] = signature(self.secret, at, body)
        return await self.poster.post(Request(url=self.url, body=body, headers=headers, secrets=(self.secret,)))

    async def close(self) -> None:
        await self.poster.close()


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """`v1=` and the HMAC-SHA256, in hex, of the timestamp, a dot, and the body as it is."""
    return "v1=" + hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


@dataclass(slots=True, kw_only=True)
class SlackSink:
    """Posts to an incoming webhook."""

    poster: Poster
    url: str = field(repr=False)

    async def send(self, notification: Notification) -> Answer:
        return await self.poster.post(Request(url=self.url, body=_json(bodies.slack(notification))))

    async def close(self) -> None:
        await self.poster.close()


@dataclass(slots=True, kw_only=True)
class PagerDutySink:
    """Posts events. What is sent twice is one incident there: the group is its key."""

    poster: Poster
    routing_key: str = field(repr=False)
    url: str = field(default=PAGERDUTY, repr=False)

    async def send(self, notification: Notification) -> Answer:
        body = _json(bodies.pagerduty(notification, self.routing_key))
        return await self.poster.post(Request(url=self.url, body=body, secrets=(self.routing_key,)))

    async def close(self) -> None:
        await self.poster.close()


@dataclass(slots=True, kw_only=True)
class AlertmanagerSink:
    """Posts alerts. What is sent twice is one alert there: its labels are its key."""

    poster: Poster
    url: str = field(repr=False)
    token: str = field(default="", repr=False)

    async def send(self, notification: Notification) -> Answer:
        base = self.url.rstrip("/")
        url = base if base.endswith(ALERTMANAGER_PATH) else base + ALERTMANAGER_PATH
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        body = _json(bodies.alertmanager(notification))
        return await self.poster.post(Request(url=url, body=body, headers=headers, secrets=(self.token,)))

    async def close(self) -> None:
        await self.poster.close()


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
