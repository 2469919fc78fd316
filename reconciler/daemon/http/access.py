"""Who may ask for what: callers by hashed token or client certificate, and their rights. Knows no routes.

The list of callers has a line each, `NAME RIGHTS HOW`: rights are `read` or `read,write`; how is `sha256:` and the hash
of a token in hex, or `certificate` for who shows a client certificate with that common name. `#` begins a comment.
Tokens are long and random, so a plain hash of them gives nothing away that could be guessed.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from reconciler.model.errors import UsageError

MAX_CALLERS = 1000
MAX_TOKEN = 512
CERTIFICATE = "certificate"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:-]{0,99}\Z")
_HASH = re.compile(r"sha256:([0-9a-f]{64})\Z")


class Right(StrEnum):
    READ = "read"
    WRITE = "write"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks. `name` goes on record as who acted; "" for one that nobody knows."""

    name: str
    rights: frozenset[Right]

    def actor(self) -> str:
        """For the audit."""
        return f"{self.name}, over HTTP"


NOBODY = Caller(name="", rights=frozenset())
ANYBODY = Caller(name="", rights=frozenset({Right.READ}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Callers:
    """All that are known."""

    tokens: tuple[tuple[bytes, Caller], ...] = ()
    certificates: Mapping[str, Caller]

    @property
    def anybody(self) -> bool:
        """Whether there is one at all."""
        return bool(self.tokens or self.certificates)

    def by_token(self, token: str) -> Caller | None:
        """Whose a token is. All are compared, each in constant time."""
        if len(token) > MAX_TOKEN:
            return None
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        found = None
        for known, caller in self.tokens:
            if hmac.compare_digest(known, digest):
                found = caller
        return found

    def by_certificate(self, peer: Mapping[str, Any] | None) -> Caller | None:
        """Whose a verified client certificate is, as `ssl.SSLSocket.getpeercert` tells it."""
        names = [str(value) for part in (peer or {}).get("subject", ()) for key, value in part if key == "commonName"]
        return self.certificates.get(names[0]) if len(names) == 1 else None


def read_callers(text: str, origin: str) -> Callers:
    """Read the list. Raises UsageError naming the line, and no hash."""
    tokens: list[tuple[bytes, Caller]] = []
    certificates: dict[str, Caller] = {}
    for number, line in enumerate(re.split(r"[\n;]", text), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        where = f"{origin}:{number}"
        if len(words) != 3:
            raise UsageError(f"{where}: a line is NAME RIGHTS HOW", hint="like: alice read,write sha256:9f86d0...")
        name, rights, how = words
        if not _NAME.match(name):
            raise UsageError(f"{where}: {name[:60]!r} is no name", hint="letters, digits and . _ @ : -, at most 100")
        caller = Caller(name=name, rights=_rights(rights, where))
        if how == CERTIFICATE:
            if name in certificates:
                raise UsageError(f"{where}: {name} has a line for its certificate already")
            certificates[name] = caller
        elif match := _HASH.match(how):
            tokens.append((bytes.fromhex(match[1]), caller))
        else:
            raise UsageError(
                f"{where}: {name} is known by no hash of a token and no certificate",
                hint='write `sha256:` and 64 hex digits, as `printf %s "$TOKEN" | sha256sum` shows, or `certificate`',
            )
    if len(tokens) + len(certificates) > MAX_CALLERS:
        raise UsageError(f"{origin}: more than {MAX_CALLERS} callers")
    return Callers(tokens=tuple(tokens), certificates=certificates)


def _rights(text: str, where: str) -> frozenset[Right]:
    try:
        return frozenset(Right(word) for word in text.split(","))
    except ValueError:
        raise UsageError(f"{where}: {text[:60]!r} are no rights", hint="read, or read,write") from None
