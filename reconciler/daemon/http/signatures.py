"""Whether a delivery comes from who knows the secret: the signatures of GitHub, GitLab, Gitea and Forgejo. No I/O.

The strongest that a delivery carries counts alone, so that a good one of a weaker kind saves no bad one. Formats are
documented by the services; GitLab's newer one is that of the Standard Webhooks specification.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from reconciler.model.errors import UsageError

LEAST_SECRET = 16
PREFIXED = "whsec_"
TOLERANCE_S = 300
"""How far the time that a delivery was signed with may be from ours."""
MAX_SIGNATURES = 8
_HEX = re.compile(r"[0-9a-fA-F]{64}\Z")
_ID = re.compile(r"[!-~]{1,200}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """Keys that deliveries may be signed with: the present one, and while it is changed the one before."""

    keys: tuple[str, ...] = field(repr=False)


NO_SECRETS = Secrets(keys=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One that is genuine. `id` is the sender's, "" where it has none."""

    sender: str
    id: str


class Forged(Exception):
    """A delivery that is not believed, with the reason, which gives no secret away."""


def read_secret(text: str, origin: str) -> str:
    """A secret as it was set. Raises UsageError for one that could be guessed; its text is never shown."""
    secret = text.strip("\r\n")
    if len(secret) < LEAST_SECRET:
        raise UsageError(
            f"{origin}: the secret of the webhook is too short",
            hint=f"at least {LEAST_SECRET} characters, like `openssl rand -hex 32` makes",
        )
    if secret.startswith(PREFIXED):
        _decoded(secret, origin)
    return secret


def _decoded(secret: str, origin: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix(PREFIXED), validate=True)
    except (binascii.Error, ValueError):
        raise UsageError(f"{origin}: what follows {PREFIXED} is not base64") from None


def verified(headers: Mapping[str, str], body: bytes, secrets: Secrets, now_s: float) -> Delivery:
    """Whose delivery it is. `headers` have one value each, whatever the case of a name. Raises Forged."""
    for header, check in _CHECKS.items():
        if header in headers:
            return check(headers, body, secrets, now_s)
    if "X-Hub-Signature" in headers:
        raise Forged("it is signed with SHA-1 alone, which is not believed: X-Hub-Signature-256 is")
    raise Forged("it is not signed")


def _github(headers: Mapping[str, str], body: bytes, secrets: Secrets, _now_s: float) -> Delivery:
    given = headers["X-Hub-Signature-256"]
    if not given.startswith("sha256="):
        raise Forged("its signature is not of the form sha256=HEX")
    _plain(given.removeprefix("sha256="), body, secrets)
    gitea = headers.get("X-Gitea-Delivery", "")
    return Delivery(sender="gitea" if gitea else "github", id=_id(gitea or headers.get("X-GitHub-Delivery", "")))


def _gitea(headers: Mapping[str, str], body: bytes, secrets: Secrets, _now_s: float) -> Delivery:
    _plain(headers["X-Gitea-Signature"], body, secrets)
    return Delivery(sender="gitea", id=_id(headers.get("X-Gitea-Delivery", "")))


def _forgejo(headers: Mapping[str, str], body: bytes, secrets: Secrets, _now_s: float) -> Delivery:
    _plain(headers["X-Forgejo-Signature"], body, secrets)
    return Delivery(sender="forgejo", id=_id(headers.get("X-Forgejo-Delivery", "")))


def _gitlab_token(headers: Mapping[str, str], _body: bytes, secrets: Secrets, _now_s: float) -> Delivery:
    given = headers["X-Gitlab-Token"].encode("utf-8", "surrogateescape")
    if not _any_equals(given, (key.encode() for key in secrets.keys)):
        raise Forged("its token is another one")
    return Delivery(sender="gitlab", id=_id(headers.get("Idempotency-Key") or headers.get("X-Gitlab-Event-UUID", "")))


def _standard(headers: Mapping[str, str], body: bytes, secrets: Secrets, now_s: float) -> Delivery:
    name, at = headers.get("Webhook-Id", ""), headers.get("Webhook-Timestamp", "")
    if not _ID.match(name) or not re.match(r"[0-9]{1,12}\Z", at):
        raise Forged("it lacks the id or the time that it is signed with")
    if abs(now_s - int(at)) > TOLERANCE_S:
        raise Forged(f"it was signed more than {TOLERANCE_S} s ago, or by a clock that is wrong")
    given = [one.removeprefix("v1,") for one in headers["Webhook-Signature"].split()[:MAX_SIGNATURES]]
    signed = f"{name}.{at}.".encode() + body
    keys = [_decoded(key, "") if key.startswith(PREFIXED) else key.encode() for key in secrets.keys]
    made = [base64.b64encode(hmac.digest(key, signed, "sha256")) for key in keys]
    fits = False
    for one in given:
        fits |= _any_equals(one.encode("utf-8", "surrogateescape"), made)
    if not fits:
        raise Forged("its signature does not fit")
    return Delivery(sender="gitlab" if "X-Gitlab-Event" in headers else "standard-webhooks", id=_id(name))


_CHECKS: Mapping[str, Callable[[Mapping[str, str], bytes, Secrets, float], Delivery]] = {
    "Webhook-Signature": _standard,
    "X-Hub-Signature-256": _github,
    "X-Forgejo-Signature": _forgejo,
    "X-Gitea-Signature": _gitea,
    "X-Gitlab-Token": _gitlab_token,
}


def _plain(given: str, body: bytes, secrets: Secrets) -> None:
    if not _HEX.match(given):
        raise Forged("its signature is not of 64 hex digits")
    made = (hmac.digest(key.encode(), body, hashlib.sha256) for key in secrets.keys)
    if not _any_equals(bytes.fromhex(given), made):
        raise Forged("its signature does not fit")


def _any_equals(given: bytes, made: Iterable[bytes]) -> bool:
    """Compared with each in constant time, however early one fits."""
    found = False
    for one in made:
        found |= hmac.compare_digest(given, one)
    return found


def _id(text: str) -> str:
    return text if _ID.match(text) else ""
