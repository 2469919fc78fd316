"""`reconciler health`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reconciler.cli import options
from reconciler.cli.command import build
from reconciler.cli.fleets import opened, run
from reconciler.cli.looking import snapshot
from reconciler.cli.output import emit, meant, note, one_line, table, to_json
from reconciler.cli.views.trend import HEADERS, trend_rows
from reconciler.health.plain import trend_json
from reconciler.model.agent import Dimension
from reconciler.model.errors import UsageError
from reconciler.model.fleet import Declaration
from reconciler.model.health import Assessment, HealthState
from reconciler.model.identity import AgentName
from reconciler.model.registry import Record
from reconciler.model.trend import Trend
from reconciler.shapes.health import assessment_json

if TYPE_CHECKING:
    from reconciler.engine.sweep import Sweep

SHOWN = (
    Dimension.LIFECYCLE,
    Dimension.CONNECTIVITY,
    Dimension.PERFORMANCE,
    Dimension.RESOURCES,
    Dimension.CARD,
    Dimension.DEPENDENCIES,
    Dimension.PLUGIN,
)


def health(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAMESPACE/NAME]...", help="Only these agents.")] = None,
    namespace: Annotated[
        str | None,
        typer.Option("-n", "--namespace", metavar="NS", help="Only this namespace; that of names without one."),
    ] = None,
    selector: Annotated[
        str | None, typer.Option("-l", "--selector", metavar="LABELS", help="Only agents with these labels.")
    ] = None,
    trend: Annotated[
        bool, typer.Option("--trend", help="Show what the history on record comes to instead of dimensions.")
    ] = False,
    output: options.Output = "text",
) -> None:
    """Check every agent that runs once, now, and show how it is by dimension. Exit 1 where one is not well.

    One failed measurement is enough here; what watches all the time waits for several. An agent whose file is broken is
    named as not checked. With --trend: availability over an hour, a day and a week, where latency goes and when its
    limit is met, flapping, and how long it took to find outages and to recover, from the history that `reconciler
    daemon` keeps.
    """
    wanted = frozenset(options.agent_named(name, namespace) for name in names or ())
    where = options.namespace(namespace) if namespace and not wanted else ""
    requirements = options.selector(selector)
    found = run(_sweep(with_trends=trend))
    _check_measured(wanted, found[1], found[3])
    unchecked = {
        name: why
        for name, (why, labels) in found[3].items()
        if not wanted
        and (not where or name.namespace == where)
        and all(requirement.matches(labels) for requirement in requirements)
    }
    chosen = [
        (assessment, labels)
        for name, (assessment, labels) in found[1].items()
        if (not wanted or name in wanted)
        and (not where or name.namespace == where)
        and all(requirement.matches(labels) for requirement in requirements)
    ]
    assessments = [assessment for assessment, _ in chosen]
    for cluster, why in sorted(found[0].unreadable.items()):
        note(f"warning: cluster {cluster} cannot be read: {one_line(why)}")
    for cluster in sorted(found[0].out_of_reach):
        note(f"Pods of {cluster} cannot be probed from outside: their readiness is told, what needs an address is not.")
    for name, why in unchecked.items():
        note(f"warning: {name} was not checked: {why}")
    if output == "json":
        told = [assessment_json(assessment) | _trend(assessment.agent, found[2]) for assessment in assessments]
        left = {str(name): why for name, why in unchecked.items()}
        emit(to_json({"agents": told, "unreadable": found[0].unreadable, "unchecked": left}))
    elif assessments:
        emit(_text(assessments, found[2]))
    else:
        note("No agents that run here. `reconciler get agents` lists those on record.")
    if unchecked or found[0].unreadable or not all(assessment.is_healthy for assessment in assessments):
        raise typer.Exit(1)


def _check_measured(
    wanted: Iterable[AgentName], measured: Collection[AgentName], unchecked: Mapping[AgentName, tuple[str, Any]]
) -> None:
    """Refuse to answer for an agent that was asked for and not looked at. Raises UsageError."""
    for name in sorted(wanted):
        if name not in measured:
            hint = meant(str(name), map(str, measured), f"`reconciler why {name}` says what keeps it")
            why = unchecked[name][0] if name in unchecked else "it is not declared, was never applied, or is suspended"
            raise UsageError(f"{name} was not checked: {why}", hint=hint)


Trends = dict[AgentName, Trend]


Measured = dict[AgentName, tuple[Assessment, dict[str, str]]]
"""How each agent is, and its labels."""
Unchecked = dict[AgentName, tuple[str, dict[str, str]]]
"""Why an agent that runs was not looked at, and its labels."""


async def _sweep(*, with_trends: bool) -> tuple[Sweep, Measured, Trends | None, Unchecked]:
    from reconciler.engine.trends import trends_on_record

    async with opened() as session:
        declaration = await session.declaration()
        stores = await session.stores()
        records = (await snapshot(stores.registry)).records
        agents = {
            name: agent
            for name, agent in sorted(declaration.agents.items())
            if name in records and not (agent.spec.suspend or records[name].suspended)
        }
        found = await session.sweep(stores, agents, records)
        trends = None
        if with_trends:
            asked = {name: agent.spec.health for name, agent in agents.items()}
            trends = await trends_on_record(stores.registry, asked, now_ms=session.clock.now_ms())
        measured = {name: (one, dict(agents[name].labels)) for name, one in found.assessments.items()}
        return found, measured, trends, _unchecked(declaration, records)


def _unchecked(declaration: Declaration, records: Mapping[AgentName, Record]) -> Unchecked:
    """Agents that run though the files do not say how they are to be: a daemon goes on looking at those by what it read
    before, which a command cannot.
    """
    broken, gone = "its file cannot be used: `reconciler validate` says why", "it is declared no more, and not gone yet"
    return {
        name: (broken if name in declaration.frozen_agents else gone, dict(record.labels))
        for name, record in sorted(records.items())
        if name not in declaration.agents and not record.suspended
    }


def _trend(name: AgentName, trends: Trends | None) -> dict[str, Any]:
    """The trend of an agent in JSON values, where trends are asked for; null where nothing is on record."""
    if trends is None:
        return {}
    return {"trend": trend_json(trends[name]) if name in trends else None}


def _text(assessments: list[Assessment], trends: Trends | None) -> str:
    if trends is None:
        lines = [_by_dimension(assessments)]
    else:
        lines = [table(HEADERS, trend_rows({one.agent: one.state for one in assessments}, trends))]
        if not trends:
            lines.append("There is no history on record: `reconciler daemon` keeps it.")
    for one in assessments:
        lines += [
            f"{one.agent}: {check.name}: {one_line(check.text, 400)}"
            for check in one.checks
            if check.state not in (HealthState.HEALTHY, HealthState.UNKNOWN)
        ]
    well = sum(one.is_healthy for one in assessments)
    lines.append(f"{well} of {len(assessments)} well.")
    return "\n".join(lines)


def _by_dimension(assessments: list[Assessment]) -> str:
    rows = [
        (str(one.agent), str(one.state), *(str(one.dimension(dimension) or "-") for dimension in SHOWN))
        for one in assessments
    ]
    return table(("AGENT", "HEALTH", *(dimension.upper() for dimension in SHOWN)), rows)


command = build(
    health,
    name="health",
    examples=("reconciler health", "reconciler health -n demo -o json", "reconciler health demo/hello --trend"),
)
