"""Whether a daemon lives, whether it does its work, and its metrics: what probes and Prometheus ask, and nobody else.

Nothing here changes anything or names an agent, so nothing here asks who is there.
"""

from __future__ import annotations

from reconciler.daemon.http.routes import Answer, Call, Route

METRICS = "text/plain; version=0.0.4; charset=utf-8"


async def live(_call: Call) -> Answer:
    """It answers, so it lives."""
    return Answer(value="ok\n")


async def ready(call: Call) -> Answer:
    """Whether it does its work, and why not."""
    why = call.inside.not_ready()
    return Answer(value=f"{why or 'ok'}\n", status=503 if why else 200)


async def metrics(call: Call) -> Answer:
    """All metrics."""
    return Answer(value=call.inside.measures.text().decode(), headers={"Content-Type": METRICS})


ROUTES = (
    Route(
        method="GET", path="/healthz", name="live", summary="Whether the daemon lives", right=None, handle=live,
        exempt=True,
    ),
    Route(
        method="GET", path="/readyz", name="ready", summary="Whether the daemon does its work", right=None,
        handle=ready, exempt=True, also={503: "It does not, and why"},
    ),
    Route(
        method="GET", path="/metrics", name="metrics", summary="Metrics in the text format of Prometheus", right=None,
        handle=metrics, exempt=True,
    ),
)  # fmt: skip
