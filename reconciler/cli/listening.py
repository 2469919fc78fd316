"""What `daemon` serves over HTTP and to whom: its options, and the secrets that environment variables or files hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from reconciler.cli.command import invocation
from reconciler.cli.settings import Settings
from reconciler.model.errors import UsageError

if TYPE_CHECKING:
    from reconciler.daemon.http import Listening
    from reconciler.daemon.http.access import Callers
    from reconciler.daemon.http.certificates import Tls
    from reconciler.daemon.http.signatures import Secrets
    from reconciler.daemon.telling import Teller
    from reconciler.ports import Clock

SECRET = "RECONCILER_WEBHOOK_SECRET"  # noqa: S105 - the name of a variable
OLD_SECRET = "RECONCILER_WEBHOOK_SECRET_OLD"  # noqa: S105
ACCESS = "RECONCILER_HTTP_ACCESS"
FILE = "_FILE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What was typed of it. `listen` "": nothing is served."""

    listen: str
    access: Path | None
    anonymous: bool
    tls_cert: Path | None
    tls_key: Path | None
    client_ca: Path | None
    proxies: str = ""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """What settings say of it."""

        def path(key: str) -> Path | None:
            text = settings.text(key)
            return invocation().folder() / text if text else None

        return cls(
            listen=settings.text("listen"),
            access=path("access"),
            anonymous=settings.text("anonymousRead") == "true",
            tls_cert=path("tlsCert"),
            tls_key=path("tlsKey"),
            client_ca=path("clientCa"),
            proxies=settings.text("trustedProxies"),
        )

    def check(self) -> None:
        """Refuse what does not go together. Raises UsageError."""
        others = (self.access, self.tls_cert, self.tls_key, self.client_ca, self.proxies)
        if not self.listen and (self.anonymous or any(others)):
            raise UsageError("nothing is served without --listen", hint="like --listen 127.0.0.1:9464")
        if (self.tls_cert is None) is not (self.tls_key is None):
            raise UsageError("--tls-cert and --tls-key go together")
        if self.client_ca is not None and self.tls_cert is None:
            raise UsageError("--client-ca goes with --tls-cert and --tls-key")
        if self.proxies:
            from reconciler.daemon.http.clients import read_networks

            read_networks(self.proxies)


def listening(served: Served, environment: Mapping[str, str], tell: Teller, clock: Clock) -> Listening:
    """What to serve; files are read, and read again when they change. Raises UsageError."""
    from reconciler.daemon.http import Listening
    from reconciler.daemon.http.clients import Clients, read_networks

    return Listening(
        address=served.listen,
        callers=_callers(served, environment, tell, clock),
        secrets=_secrets(environment, tell, clock),
        anonymous=served.anonymous,
        tls=_tls(served, tell),
        clients=Clients(proxies=read_networks(served.proxies)),
    )


def _tls(served: Served, tell: Teller) -> Tls | None:
    from reconciler.daemon.http.certificates import Tls

    if served.tls_cert is None or served.tls_key is None:
        return None
    return Tls(
        certificate=served.tls_cert,
        key=served.tls_key,
        client_ca=served.client_ca,
        troubled=lambda why: tell.say("error", "certificate", reason=why, hint="the one from before is shown"),
    )


def _callers(served: Served, environment: Mapping[str, str], tell: Teller, clock: Clock) -> Callable[[], Callers]:
    from reconciler.daemon.http.access import Callers, read_callers
    from reconciler.daemon.http.secretfiles import FromFile

    if served.access is not None:
        file = FromFile(
            path=served.access,
            read=read_callers,
            none=Callers(certificates={}),
            monotonic=clock.monotonic,
            troubled=lambda why: tell.say("error", "access-file", reason=why, hint="nobody may use the API until then"),
        )
        file.first()
        return file.now
    known = read_callers(environment.get(ACCESS, ""), ACCESS)
    return lambda: known


def _secrets(environment: Mapping[str, str], tell: Teller, clock: Clock) -> Callable[[], Secrets]:
    from reconciler.daemon.http.signatures import Secrets

    sources = [
        source for name in (SECRET, OLD_SECRET) if (source := _secret(name, environment, tell, clock)) is not None
    ]
    return lambda: Secrets(keys=tuple(key for source in sources if (key := source())))


def _secret(name: str, environment: Mapping[str, str], tell: Teller, clock: Clock) -> Callable[[], str] | None:
    from reconciler.daemon.http.secretfiles import FromFile
    from reconciler.daemon.http.signatures import read_secret

    if value := environment.get(name):
        key = read_secret(value, name)
        return lambda: key
    if path := environment.get(name + FILE):
        file = FromFile(
            path=Path(path),
            read=read_secret,
            none="",
            monotonic=clock.monotonic,
            troubled=lambda why: tell.say("error", "webhook-secret", reason=why, hint="deliveries are refused"),
        )
        file.first()
        return file.now
    return None
