"""The certificate that is shown to callers, and who signs theirs: files that are renewed while a daemon runs.

May live here: TLS settings made of files. Must not: know connections, or who may do what.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.daemon.http.secretfiles import LOOK_AGAIN_S, Stamp, stamp_of
from reconciler.model.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """A certificate with its key; `client_ca` signs the certificates of callers."""

    certificate: Path
    key: Path
    client_ca: Path | None = None
    troubled: Callable[[str], None] = lambda _why: None
    """Told why files that were renewed cannot be used; those from before are used until they can."""

    def context(self) -> ssl.SSLContext:
        """Raises UsageError for files that cannot be used."""
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.minimum_version = ssl.TLSVersion.TLSv1_2
        made.set_alpn_protocols(["http/1.1"])
        try:
            made.load_cert_chain(self.certificate, self.key)
            if self.client_ca is not None:
                made.load_verify_locations(self.client_ca)
                made.verify_mode = ssl.CERT_OPTIONAL  # probes and tokens come without one
        except (OSError, ValueError) as error:
            raise UsageError(
                f"the certificate cannot be used: {error}", hint="PEM files, without a passphrase"
            ) from error
        return made

    def stamps(self) -> tuple[Stamp | None, ...]:
        """What tells that files were written anew."""
        return tuple(stamp_of(path) for path in (self.certificate, self.key, self.client_ca) if path is not None)


@dataclass(slots=True)
class Renewing:
    """The context for the next connection: of the files as they are, at most some seconds late."""

    tls: Tls
    monotonic: Callable[[], float]
    _stamps: tuple[Stamp | None, ...] = field(init=False)
    _looked: float = field(init=False)
    _context: ssl.SSLContext = field(init=False)
    _trouble: str = field(init=False, default="")

    def __post_init__(self) -> None:
        """Raises UsageError."""
        self._stamps, self._looked = self.tls.stamps(), self.monotonic()
        self._context = self.tls.context()

    def now(self) -> ssl.SSLContext:
        """Never raises: a half-written pair of files is looked at again a little later."""
        now = self.monotonic()
        if now - self._looked < LOOK_AGAIN_S:
            return self._context
        self._looked = now
        stamps = self.tls.stamps()
        if stamps != self._stamps:
            try:
                self._context, self._stamps, self._trouble = self.tls.context(), stamps, ""
            except UsageError as error:
                if error.message != self._trouble:
                    self._trouble = error.message
                    self.tls.troubled(error.message)
        return self._context
