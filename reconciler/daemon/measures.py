"""What a daemon measures of itself and its fleet, for Prometheus. Labels are few and bounded: no agents' names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import prometheus_client as prometheus

from reconciler.model.agent import Remedy
from reconciler.model.alert import Alert, Route, Severity, Verdict, Waiting
from reconciler.model.events import ChangeFinished
from reconciler.model.health import Assessment, HealthState
from reconciler.model.plan import Action, Plan
from reconciler.model.recovery import Ended

PASSES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
RECOVERIES = (1.0, 3.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0)
CHANGES = (0.3, 1.0, 3.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


class Measures:
    """The metrics of one daemon, in a registry of their own. One that never `leads` is not measured as standing by."""

    def __init__(self, *, leads: bool = True) -> None:
        self.registry = kept = prometheus.CollectorRegistry()

        def gauge(name: str, text: str, *labels: str, shown: bool = True) -> prometheus.Gauge:
            return prometheus.Gauge(name, text, labels, namespace="reconciler", registry=kept if shown else None)

        def histogram(name: str, text: str, *labels: str, buckets: tuple[float, ...]) -> prometheus.Histogram:
            return prometheus.Histogram(name, text, labels, namespace="reconciler", registry=kept, buckets=buckets)

        def counter(name: str, text: str, *labels: str) -> prometheus.Counter:
            return prometheus.Counter(name, text, labels, namespace="reconciler", registry=kept)

        self._leads = gauge("leader", "Whether this daemon leads (1) or stands by (0)", shown=leads)
        self._shards = gauge("shards", "Parts that daemons divide the fleet into; 1 where one leads", shown=leads)
        self._shards.set(1)
        self._held_shards = gauge("shards_held", "Parts of the fleet that this daemon looks after", shown=leads)
        self._passes = histogram("pass_seconds", "How long passes took", buckets=PASSES)
        self._failed = counter("pass_failures", "Passes that made no plan")
        self._pending = gauge("planned_changes", "Changes in the last plan", "action")
        self._held = gauge("held", "What the last plan holds back, by why", "code")
        self._agents = gauge("agents", "Agents that the fleet declares")
        self._ended = histogram(
            "change_seconds", "From the start of a change to its end", "action", "outcome", buckets=CHANGES
        )
        self._sweep = histogram("sweep_seconds", "How long health sweeps took", buckets=PASSES)
        self._missed = counter("sweeps_missed", "Turns of agents in sweeps that came while one before went on")
        self._assessed = counter("assessments", "Agents that were measured and judged, by what was found", "state")
        self._probes = counter("probes", "Probes by what they asked, and what came of it", "kind", "outcome")
        self._probed: dict[tuple[str, str], prometheus.Counter] = {}
        self._health = gauge("agents_by_health", "Agents by what is known of their health", "state")
        self._remedies = counter("remedies", "Remedies that have ended, by how", "remedy", "outcome")
        self._recovery = histogram("recovery_seconds", "From unhealthy to healthy again", buckets=RECOVERIES)
        self._doubts = gauge("remedies_suspended", "Whether so much fails at once that nothing is done about it (1)")
        self._alerts = gauge("alerts", "Alerts that are active", "severity")
        self._tried = counter(
            "alert_attempts", "Attempts to send alerts, by what became of them", "receiver", "outcome"
        )
        self._waiting = gauge("alerts_queued", "Messages that are still to be sent", "receiver")
        self._dropped = counter("alerts_dropped", "Messages that were never sent: too many waited", "receiver")
        self._requests = counter("http_requests", "Answers over HTTP, by route and status", "route", "status")
        self._kept = counter(
            "registry_cache", "Questions to what is kept of the registry, by what they were answered from",
            "cache", "outcome",
        )  # fmt: skip
        self._deliveries = counter("webhook_deliveries", "Deliveries of webhooks, by what became of them", "outcome")

    def planned(self, plan: Plan) -> None:
        """A pass ended in a plan."""
        self._agents.set(plan.agents)
        for action in Action:
            self._pending.labels(action.value).set(plan.count(action))
        self._held.clear()
        for code, number in Counter(hold.code.value for hold in plan.holds).items():
            self._held.labels(code).set(number)

    def passed(self, seconds: float, *, failed: bool) -> None:
        """A pass ended."""
        self._passes.observe(seconds)
        if failed:
            self._failed.inc()

    def ended(self, end: ChangeFinished) -> None:
        """A change ended."""
        self._ended.labels(end.action.value, end.outcome.value).observe(end.duration_ms / 1000)

    def swept(self, seconds: float, *, missed: int) -> None:
        """A sweep ended."""
        self._sweep.observe(seconds)
        self.missed(missed)

    def missed(self, turns: int) -> None:
        """Agents were left out of a sweep."""
        self._missed.inc(turns)

    def probed(self, kind: str, outcome: str) -> None:
        """A probe ended."""
        counter = self._probed.get((kind, outcome))
        if counter is None:  # looked up once: a sweep counts thousands
            counter = self._probed[kind, outcome] = self._probes.labels(kind, outcome)
        counter.inc()

    def assessed(self, now: Iterable[Assessment], known: Iterable[Assessment]) -> None:
        """What a sweep found, and what is known of all agents."""
        for state, number in Counter(item.state for item in now).items():
            self._assessed.labels(state.value).inc(number)
        counts = Counter(item.state for item in known)
        for state in HealthState:
            self._health.labels(state.value).set(counts[state])

    def remedied(self, remedy: Remedy, how: Ended) -> None:
        """A remedy has ended."""
        self._remedies.labels(remedy.value, how.value).inc()

    def recovered(self, seconds: float) -> None:
        """An agent that was unhealthy is healthy again."""
        self._recovery.observe(seconds)

    def doubts(self, yes: bool) -> None:  # noqa: FBT001 - a setter
        """Whether the observer is suspected."""
        self._doubts.set(int(yes))

    def alerts_active(self, alerts: Iterable[Alert]) -> None:
        """The alerts that are active."""
        counts = Counter(alert.severity for alert in alerts)
        for severity in Severity:
            self._alerts.labels(severity.value).set(counts[severity])

    def alert_tried(self, receiver: str, outcome: str) -> None:
        """One attempt to send a message."""
        self._tried.labels(receiver, outcome).inc()

    def alerts_waiting(self, waiting: Iterable[Waiting], routes: Iterable[Route]) -> None:
        """What routes have not been sent."""
        receivers = {route.id: route.said.receiver for route in routes}
        queued = Counter[str]()
        for one in waiting:
            queued[receivers.get(one.route, "gone")] += one.queued
        self._waiting.clear()  # of a receiver that no route leads to any more nothing waits
        for receiver in {*receivers.values(), *queued}:
            self._waiting.labels(receiver).set(queued[receiver])
        for receiver in {*receivers.values()}:  # a counter that appears with its first count has risen for nobody
            self.alerts_dropped(receiver, 0)
            for verdict in Verdict:
                self._tried.labels(receiver, verdict.value).inc(0)

    def alerts_nobodys(self) -> None:
        """Alerts are another daemon's from now on."""
        self._alerts.clear()
        self._waiting.clear()

    def alerts_dropped(self, receiver: str, number: int) -> None:
        """Messages were given up, because too many waited."""
        self._dropped.labels(receiver).inc(number)

    def leads(self, yes: bool) -> None:  # noqa: FBT001 - a setter
        """Whether this daemon acts. Of a fleet that another one looks after nothing is known here."""
        self._leads.set(int(yes))
        self._held_shards.set(int(yes))  # of a fleet in shards it is told how many
        if not yes:
            for labelled in (self._pending, self._held, self._health, self._alerts, self._waiting):
                labelled.clear()
            self._agents.set(0)
            self._doubts.set(0)

    def shards(self, held: int, of: int) -> None:
        """How many parts of the fleet are this daemon's."""
        self._held_shards.set(held)
        self._shards.set(of)

    def answered(self, route: str, status: int) -> None:
        """A request was answered. `route` is the name of one that is served, or "none"."""
        self._requests.labels(route, str(status)).inc()

    def cached(self, cache: str, outcome: str) -> None:
        """A cache of the registry was asked. Two of this process, records and answers, and the copy of one that is far;
        hit, miss or stale.
        """
        self._kept.labels(cache, outcome).inc()

    def delivered(self, outcome: str) -> None:
        """A delivery came to the webhook: taken, repeated or refused."""
        self._deliveries.labels(outcome).inc()

    def text(self) -> bytes:
        """All of it, in the text format of Prometheus."""
        return prometheus.generate_latest(self.registry)
