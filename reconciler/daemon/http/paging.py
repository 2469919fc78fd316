"""Pages of what is kept in memory: tokens that say where the next one begins, bound to what they are a page of."""

from __future__ import annotations

import base64
import binascii
import hashlib

from reconciler.daemon.http.problems import Problem

MAX_TOKEN = 1024
MAX_DIGITS = 12


def written(of: str, place: str) -> str:
    """A token for what follows `place` in the list that `of` names."""
    return base64.urlsafe_b64encode(f"{_digest(of)}{place}".encode()).decode().rstrip("=")


def read(token: str, of: str) -> str:
    """The place that a token names, "" for none. Raises Problem for a token of another list."""
    if not token:
        return ""
    try:
        cut = token[:MAX_TOKEN]
        text = base64.b64decode(cut + "=" * (-len(cut) % 4), altchars=b"-_", validate=True).decode()
    except (ValueError, binascii.Error):
        text = ""
    if not text or text[:16] != _digest(of) or not text[16:]:
        raise _none()
    return text[16:]


def number(token: str, of: str, most: int) -> int:
    """The place that a token names, which is a number up to `most`; 0 for none. Raises Problem, as `read` does."""
    place = read(token, of) or "0"
    if not (place.isascii() and place.isdigit() and len(place) < MAX_DIGITS and int(place) <= most):
        raise _none()
    return int(place)


def _none() -> Problem:
    hint = "begin again without it"
    return Problem(400, "bad-continue", "`continue` is no token of this list as it is now", hint=hint)


def _digest(of: str) -> str:
    return hashlib.sha256(of.encode()).hexdigest()[:16]
