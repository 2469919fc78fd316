"""The options of `reconciler daemon`. Each is a setting as well: what is not given here is said elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from reconciler.cli.settings import Settings
    from reconciler.health.budgets import Limits


def _option(flag: str, text: str, metavar: str | None = None, default: str = "") -> Any:
    return typer.Option(flag, metavar=metavar, help=f"{text}  [default: {default}]" if default else text)


Repo = Annotated[str | None, _option("--repo", "Follow this repository instead of the one around here.", "URL")]
Branch = Annotated[str | None, _option("--branch", "The branch to follow, else what is current there.", "NAME")]
Path = Annotated[str | None, _option("--path", "Where the fleet lies in --repo.", "DIR")]
State = Annotated[str | None, _option("--state", "Where --repo is mirrored, and state is kept.", "DIR")]
Mode = Annotated[
    Literal["apply", "plan-only"] | None,
    _option("--mode", "Whether it acts, or only tells what it would do.", default="apply"),
]
Poll = Annotated[str | None, _option("--poll", "How often Git is asked.", "DURATION", "10s")]
Resync = Annotated[str | None, _option("--resync", "How often it looks at everything unasked.", "DURATION", "1m")]
Sweep = Annotated[str | None, _option("--sweep", "How often health is swept, else as each agent declares.", "DURATION")]
RemediesAtOnce = Annotated[
    str | None,
    _option("--remedies-at-once", "How many agents are under a remedy at a time; 0: none ever.", "N|N%", "5%"),
]
RemediesBegun = Annotated[
    str | None, _option("--remedies-begun", "How many begin one within ten minutes.", "N|N%", "20%")
]
PluginDir = Annotated[
    str | None, _option("--plugin-dir", "Where executables lie that are health checks of yours.", "DIR")
]
Shards = Annotated[str | None, _option("--shards", "Share the agents out, in N parts, among all daemons told so.", "N")]
SharedRegistry = Annotated[
    bool | None,
    typer.Option("--shared-registry", help="Begin only with a registry that daemons on other machines reach too."),
]
Listen = Annotated[
    str | None, _option("--listen", "Serve probes, metrics, the webhook and the API there.", "HOST:PORT")
]
Access = Annotated[str | None, _option("--access", "Who may use the API: see docs/http.md.", "FILE")]
AnonymousRead = Annotated[
    bool | None, typer.Option("--anonymous-read", help="Whoever is on this machine may read the API; not beyond it.")
]
TlsCert = Annotated[str | None, _option("--tls-cert", "Serve HTTPS with this certificate (PEM).", "FILE")]
TlsKey = Annotated[str | None, _option("--tls-key", "Its key.", "FILE")]
ClientCa = Annotated[str | None, _option("--client-ca", "Know callers by certificates that this one signs.", "FILE")]
TrustedProxies = Annotated[
    str | None, _option("--trusted-proxies", "Believe these whom they ask for: see docs/http.md.", "ADDRESS,...")
]
History = Annotated[str | None, _option("--history", "How long the history of health is kept.", "DURATION", "30d")]
KeepRevisions = Annotated[
    str | None, _option("--keep-revisions", "Prune revisions and feed of the registry from this age on.", "DURATION")
]
Log = Annotated[Literal["text", "json"] | None, _option("--log", "Format of the lines on stderr.", default="text")]
LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"] | None,
    _option("--log-level", "The least that is told.", default="info"),
]


def limits(settings: Settings) -> Limits:
    """How many remedies there may be. A number is meant as it stands; a share of a small fleet has a least."""
    from reconciler.health.budgets import Limits

    usual = Limits()
    percent, least = _amount(settings.text("remediesAtOnce"), usual.at_once_least)
    begun_percent, begun_least = _amount(settings.text("remediesBegun"), usual.window_least)
    return Limits(
        at_once_percent=percent, at_once_least=least, window_percent=begun_percent, window_least=begun_least
    )  # fmt: skip


def _amount(text: str, least: int) -> tuple[int, int]:
    """A percentage, and the least that counts whatever it comes to."""
    if not text.endswith("%"):
        return 0, int(text)
    percent = int(text[:-1])
    return percent, least if percent else 0
