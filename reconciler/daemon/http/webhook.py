"""The webhook: somebody pushed, so Git is asked now instead of a little later. What a delivery says is never read.

A delivery that was believed once is not believed again: neither by its id, which nobody signs, nor by its bytes.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypedDict

from reconciler.daemon.calling import ring
from reconciler.daemon.http.inside import Inside
from reconciler.daemon.http.limits import Limits, body_of
from reconciler.daemon.http.problems import Problem
from reconciler.daemon.http.routes import Answer, Call, Route
from reconciler.daemon.http.signatures import Forged, Secrets, verified
from reconciler.model.errors import ReconcilerError

AGE_S = 24 * 3600.0
RING_WITHIN_S = 5.0


class FetchShape(TypedDict):
    """Whether Git is asked now, and by whom or why not."""

    fetch: bool
    detail: str


@dataclass(slots=True, kw_only=True)
class Seen:
    """What came before, for `age_s` seconds; of more than `most` the oldest is forgotten."""

    monotonic: Callable[[], float]
    age_s: float = AGE_S
    most: int
    _at: OrderedDict[str, float] = field(default_factory=OrderedDict)

    def before(self, *keys: str) -> bool:
        """Whether one of `keys` came before; all of them have now."""
        now = self.monotonic()
        while self._at and now - next(iter(self._at.values())) > self.age_s:
            self._at.popitem(last=False)
        known = any(key in self._at for key in keys)
        for key in keys:
            if key not in self._at:
                self._at[key] = now
                if len(self._at) > self.most:
                    self._at.popitem(last=False)
        return known

    def __len__(self) -> int:
        return len(self._at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """Takes deliveries; `secrets` says with which keys they may be signed now."""

    secrets: Callable[[], Secrets]
    limits: Limits
    seen: Seen

    def route(self) -> Route:
        """Where deliveries come in."""
        return Route(
            method="POST",
            path="/webhook",
            name="webhook",
            summary="Have Git asked now",
            text=(
                "For GitHub (X-Hub-Signature-256), GitLab (webhook-signature, or X-Gitlab-Token), Gitea and Forgejo. "
                "The body is checked and not read: whatever it says, Git is asked."
            ),
            right=None,
            handle=self.take,
            given_raw=True,
            answers=FetchShape,
            status=202,
            also={200: "It came before, so nothing is done"},
            problems={401: "It is not signed with a secret that is known", 403: "No secret is configured"},
        )

    async def take(self, call: Call) -> Answer:
        """One delivery. Raises Problem."""
        request, inside = call.request, call.inside
        secrets = self.secrets()
        if not secrets.keys:
            inside.measures.delivered("refused")
            hint = "set RECONCILER_WEBHOOK_SECRET, or RECONCILER_WEBHOOK_SECRET_FILE, for the daemon"
            raise Problem(403, "no-secret", "this daemon takes no deliveries: no secret is configured", hint=hint)
        body = await body_of(request, most=self.limits.webhook_bytes, within_s=self.limits.body_s)
        try:
            delivery = verified(request.headers, body, secrets, inside.clock.now_ms() / 1000)
        except Forged as error:
            inside.measures.delivered("refused")
            raise Problem(401, "not-believed", str(error), hint="look at the secret on both sides") from None
        keys = [f"body {hashlib.sha256(body).hexdigest()}"]
        if delivery.id:
            keys.append(f"{delivery.sender} {delivery.id}")
        if self.seen.before(*keys):
            inside.measures.delivered("repeated")
            return Answer(value=FetchShape(fetch=False, detail="it came before"))
        inside.measures.delivered("taken")
        inside.tell.say("info", "webhook", sender=delivery.sender, delivery=delivery.id)
        inside.fetch()
        return Answer(value=await _passed_on(inside), status=202)


async def _passed_on(inside: Inside) -> FetchShape:
    """Let the others know, where it is not this daemon alone that asks."""
    if inside.alone():
        return FetchShape(fetch=True, detail="Git is asked now")
    try:
        async with asyncio.timeout(RING_WITHIN_S):
            await ring((await inside.stores()).registry, inside.clock, inside.options.holder)
    except (ReconcilerError, Problem, TimeoutError) as error:
        reason = "the registry does not answer" if isinstance(error, TimeoutError) else str(error)
        inside.tell.say("warning", "not-passed-on", reason=reason)
        detail = "the daemons that look after the fleet could not be told: they ask Git at the end of their --poll"
        return FetchShape(fetch=False, detail=detail)
    return FetchShape(fetch=True, detail="the daemons that look after the fleet ask Git now")
