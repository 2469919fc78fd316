"""What can be read: the fleet, agents, their revisions and health, the plan, the audit log. Nothing here changes
anything, or asks a cluster; every list is cut into pages.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from reconciler.daemon.http import paging
from reconciler.daemon.http.access import Right
from reconciler.daemon.http.answers import (
    AgentListShape,
    AskAgents,
    AskAudit,
    AskHealth,
    AskPage,
    AuditListShape,
    ClusterShape,
    FleetShape,
    HealthListShape,
    HealthShape,
    Nothing,
    PlanPageShape,
    RevisionListShape,
)
from reconciler.daemon.http.problems import Problem, asked_wrongly
from reconciler.daemon.http.routes import Answer, Call, Route
from reconciler.daemon.loop import Mode
from reconciler.engine.trends import trend_on_record
from reconciler.health.plain import trend_json
from reconciler.model.errors import RegistryError
from reconciler.model.health import Assessment
from reconciler.model.identity import AgentName
from reconciler.model.objects import Absent, Found, Unreadable
from reconciler.model.plan import Plan
from reconciler.model.query import Query, QueryError
from reconciler.model.registry import AgentRevision, ClusterHealth, ClusterState, Record
from reconciler.ports import Aging, Registry
from reconciler.query.asked import Asked, query_of
from reconciler.query.selectors import read_selector
from reconciler.shapes.health import assessment_json
from reconciler.shapes.plan import plan_json, summary_json
from reconciler.shapes.records import RecordShape, audit_json, moment, record_json, revision_json

MAX_LISTED = 1000
"""Of what a plan lists beside its changes."""


async def fleet(call: Call) -> Answer:
    """The fleet, and this daemon."""
    inside = call.inside
    stores = await inside.stores()
    declared, plan = inside.declared(), inside.plan()
    states = await stores.registry.count(Query(), by="state")
    by_state = {str(group.value): group.count for group in states}
    why = inside.not_ready()
    role = "plan-only" if inside.mode is Mode.PLAN_ONLY else "leader" if inside.leads() else "standby"
    snapshot = await stores.registry.snapshot()
    known = snapshot.value.clusters if isinstance(snapshot, Found) else {}
    spec = declared.fleet if declared is not None else None
    shape: FleetShape = {
        "fleet": spec.name if spec is not None else "",
        "commit": plan.revision.commit if plan is not None else "",
        "ref": plan.revision.ref if plan is not None else "",
        "mode": inside.mode.value,
        "role": role,
        "ready": not why,
        "notReady": why,
        "agents": {
            "declared": plan.agents if plan is not None else None,
            "onRecord": sum(by_state.values()),
            "byState": by_state,
            "byHealth": dict(Counter(item.state.value for item in inside.assessed().values())),
        },
        "clusters": [_cluster(one.name, known.get(one.name)) for one in (spec.clusters if spec is not None else ())],
    }
    return Answer(value=shape)


def _cluster(name: str, health: ClusterHealth | None) -> ClusterShape:
    if health is None:
        return {"name": name, "state": ClusterState.WELL.value, "since": "", "reason": ""}
    return {"name": name, "state": health.state.value, "since": moment(health.since_ms), "reason": health.reason}


async def agents(call: Call) -> Answer:
    """Agents that meet a query, as `reconciler get agents` finds them."""
    asked: AskAgents = call.asked
    registry = (await call.inside.stores()).registry
    query = _query(asked, call.inside.clock.now_ms())
    try:
        page = await registry.find(query, limit=asked.limit, after=asked.after)
    except QueryError as error:
        raise asked_wrongly(error, "continue") from None
    items = [record_json(record) for record in page.records]
    return Answer(value=_aged(registry, items) | {"continue": page.next})


def _query(asked: AskAgents, now_ms: int) -> Query:
    """One query out of the parameters, each read by itself so that a place is one in its parameter."""
    try:
        requirements = read_selector(asked.selector) if asked.selector else ()
    except QueryError as error:
        raise asked_wrongly(error, "selector") from None
    where = Asked(where=asked.where, after=asked.after)
    for parameter, part in (("where", where), ("orderBy", Asked(order_by=asked.order_by))):
        try:
            query_of(part, namespace="", names=(), selector=(), now_ms=now_ms)
        except QueryError as error:
            raise asked_wrongly(error, parameter) from None
    question = replace(where, order_by=asked.order_by)
    return query_of(question, namespace=asked.namespace, names=(), selector=requirements, now_ms=now_ms)


def _aged(registry: Registry, items: list[RecordShape]) -> dict[str, object]:
    stale = registry.stale if isinstance(registry, Aging) else None
    return {"items": items} | ({"asOf": moment(stale.as_of_ms)} if stale is not None else {})


async def record_of(registry: Registry, name: AgentName) -> Record:
    """One record. Raises Problem where there is none."""
    match await registry.get(name):
        case Found(value=record):
            return record
        case Absent():
            raise Problem(404, "no-agent", f"there is no agent {name} on record")
        case Unreadable(reason=reason):
            raise RegistryError(f"the record of {name} cannot be read: {reason}")


async def agent(call: Call) -> Answer:
    """One agent's record."""
    registry = (await call.inside.stores()).registry
    return Answer(value=record_json(await record_of(registry, call.agent)))


async def revisions(call: Call) -> Answer:
    """What was applied of an agent, newest first; also of one that is gone."""
    asked: AskPage = call.asked
    registry = (await call.inside.stores()).registry
    known = await registry.revisions(call.agent)
    if not known:
        raise Problem(404, "no-agent", f"{call.agent} has no history: it was never applied")
    of, place = f"revisions {call.agent}", paging.read(asked.after, f"revisions {call.agent}")
    ordered = sorted(known, key=_when, reverse=True)
    if place:
        ordered = [item for item in ordered if _place(item) < place]
    page, more = ordered[: asked.limit], len(ordered) > asked.limit
    following = paging.written(of, _place(page[-1])) if more else ""
    value: RevisionListShape = {"items": [revision_json(item) for item in page], "continue": following}
    return Answer(value=value)


def _when(revision: AgentRevision) -> tuple[int, int]:
    return revision.at_ms, revision.number


def _place(revision: AgentRevision) -> str:
    return f"{revision.at_ms:020d}.{revision.number:012d}"


def _health(assessment: Assessment) -> HealthShape:
    judged = assessment_json(assessment)
    return {
        "agent": judged["agent"],
        "state": judged["state"],
        "healthy": judged["healthy"],
        "critical": judged["critical"],
        "upstream": judged["upstream"],
        "checks": judged["checks"],
        "at": moment(assessment.at_ms),
        "requiresRecovery": assessment.requires_recovery,
    }


async def agent_health(call: Call) -> Answer:
    """What the last sweep found of one agent."""
    inside, name = call.inside, call.agent
    registry = (await inside.stores()).registry
    found = inside.assessed().get(name)
    if found is None:
        await record_of(registry, name)
        hint = "the daemon that leads sweeps the agents that run; ask it after its first sweep"
        raise Problem(404, "not-swept", f"no sweep of this daemon has found {name}", hint=hint)
    declared = inside.declared()
    agent_ = declared.agents.get(name) if declared is not None else None
    limits = agent_.spec.health if agent_ is not None else None
    trend = await trend_on_record(registry, name, limits, now_ms=inside.clock.now_ms())
    shape = _health(found)
    shape["trend"] = trend_json(trend) if trend is not None else None
    return Answer(value=shape)


async def health(call: Call) -> Answer:
    """What the last sweep found, by name."""
    asked: AskHealth = call.asked
    of = f"health {asked.state}"
    place = paging.read(asked.after, of)
    found = call.inside.assessed()
    names = sorted(
        (name for name, one in found.items() if asked.state in {"", one.state.value} and str(name) > place), key=str
    )
    page = names[: asked.limit]
    following = paging.written(of, str(page[-1])) if len(names) > asked.limit else ""
    value: HealthListShape = {"items": [_health(found[name]) for name in page], "continue": following}
    return Answer(value=value)


async def plan(call: Call) -> Answer:
    """The last plan that this daemon made."""
    asked: AskPage = call.asked
    made = call.inside.plan()
    if made is None:
        hint = "the daemon that leads has it" if call.inside.mode is Mode.APPLY else ""
        raise Problem(404, "no-plan", "this daemon has made no plan, or stands by", hint=hint)
    return Answer(value=plan_page(made, limit=asked.limit, after=asked.after))


def plan_page(made: Plan, *, limit: int, after: str) -> PlanPageShape:
    """A plan with some of its changes. Raises Problem for a token of another plan."""
    of = f"plan {made.revision.commit} " + " ".join(f"{change.name}={change.fingerprint}" for change in made.changes)
    start = paging.number(after, of, len(made.changes))
    lists = {"drift": made.drift, "held": made.holds, "blastRadius": made.blast_radius, "diagnostics": made.diagnostics}
    cut = [name for name, items in lists.items() if len(items) > MAX_LISTED]
    shown = replace(
        made,
        changes=made.changes[start : start + limit],
        drift=made.drift[:MAX_LISTED],
        holds=made.holds[:MAX_LISTED],
        blast_radius=made.blast_radius[:MAX_LISTED],
        diagnostics=made.diagnostics[:MAX_LISTED],
    )
    following = paging.written(of, str(start + limit)) if len(made.changes) > start + limit else ""
    whole = plan_json(shown)
    whole["summary"] = summary_json(made)
    return {**whole, "cut": cut, "continue": following}


async def audit(call: Call) -> Answer:
    """The audit log, oldest first."""
    asked: AskAudit = call.asked
    name = None
    if asked.agent:
        try:
            name = AgentName.parse(asked.agent)
        except ValueError as error:
            raise Problem(400, "bad-parameter", f"agent: {error}") from None
    registry = (await call.inside.stores()).registry
    items = []
    async for entry in registry.audit(name=name, since=asked.since):
        items.append(audit_json(entry))
        if len(items) > asked.limit:
            break
    value: AuditListShape = {"items": items[: asked.limit], "more": len(items) > asked.limit}
    return Answer(value=value)


_AGENT = "/api/v1/agents/{namespace}/{name}"
_GONE = {404: "There is no such agent"}
READ = Right.READ
ROUTES = (
    Route(
        method="GET", path="/api/v1/fleet", name="fleet", summary="The fleet, and this daemon", right=READ,
        handle=fleet, asked=Nothing, answers=FleetShape,
    ),
    Route(
        method="GET", path="/api/v1/agents", name="agents", summary="Agents on record that meet a query", right=READ,
        handle=agents, asked=AskAgents, answers=AgentListShape,
    ),
    Route(
        method="GET", path=_AGENT, name="agent", summary="One agent's record", right=READ, handle=agent, asked=Nothing,
        answers=RecordShape, problems=_GONE,
    ),
    Route(
        method="GET", path=_AGENT + "/revisions", name="revisions", summary="What was applied of an agent", right=READ,
        handle=revisions, asked=AskPage, answers=RevisionListShape, problems=_GONE,
    ),
    Route(
        method="GET", path=_AGENT + "/health", name="agentHealth", summary="Health of an agent by the last sweep",
        right=READ, handle=agent_health, asked=Nothing, answers=HealthShape, problems=_GONE,
    ),
    Route(
        method="GET", path="/api/v1/health", name="health", summary="Health of all agents by the last sweep",
        right=READ, handle=health, asked=AskHealth, answers=HealthListShape,
    ),
    Route(
        method="GET", path="/api/v1/plan", name="plan", summary="The last plan", right=READ, handle=plan,
        asked=AskPage, answers=PlanPageShape, problems={404: "No plan was made, or this daemon stands by"},
    ),
    Route(
        method="GET", path="/api/v1/audit", name="audit", summary="The audit log, oldest first", right=READ,
        handle=audit, asked=AskAudit, answers=AuditListShape,
    ),
)  # fmt: skip
