"""`reconciler health`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from reconciler.cli import options
from reconciler.cli.command import build, invocation
from reconciler.cli.fleets import opened, run
from reconciler.cli.looking import snapshot
from reconciler.cli.output import emit, note, one_line, table, to_json
from reconciler.model.agent import Dimension
from reconciler.model.health import Assessment, HealthState

if TYPE_CHECKING:
    from reconciler.engine.sweep import Sweep

SHOWN = (
    Dimension.LIFECYCLE,
    Dimension.CONNECTIVITY,
    Dimension.PERFORMANCE,
    Dimension.RESOURCES,
    Dimension.CARD,
    Dimension.DEPENDENCIES,
)


def health(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAMESPACE/NAME]...", help="Only these agents.")] = None,
    namespace: Annotated[
        str | None, typer.Option("-n", "--namespace", metavar="NS", help="Only this namespace.")
    ] = None,
    selector: Annotated[
        str | None, typer.Option("-l", "--selector", metavar="LABELS", help="Only agents with these labels.")
    ] = None,
    output: options.Output = "text",
) -> None:
    """Check every agent that runs once, now, and show how it is by dimension. Exit 1 where one is not well.

    One failed measurement is enough here; what watches all the time waits for several.
    """
    wanted = frozenset(options.agent_name(name) for name in names or ())
    where = invocation().settings(namespace=namespace).text("namespace")
    requirements = options.selector(selector)
    found = run(_sweep())
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
    if output == "json":
        emit(to_json({"agents": [plain(assessment) for assessment in assessments], "unreadable": found[0].unreadable}))
    elif assessments:
        emit(_text(assessments))
    else:
        note("No agents that run here. `reconciler get agents` lists those on record.")
    if found[0].unreadable or not all(assessment.is_healthy for assessment in assessments):
        raise typer.Exit(1)


async def _sweep() -> tuple[Sweep, dict[Any, tuple[Assessment, dict[str, str]]]]:
    async with opened() as session:
        declaration = await session.declaration()
        stores = await session.stores()
        records = (await snapshot(stores.registry)).records
        agents = {
            name: agent
            for name, agent in sorted(declaration.agents.items())
            if name in records and not (agent.spec.suspend or records[name].suspended)
        }
        found = await session.sweep(stores, agents)
        return found, {name: (one, dict(agents[name].labels)) for name, one in found.assessments.items()}


def plain(assessment: Assessment) -> dict[str, Any]:
    """One assessment in JSON values."""
    return {
        "agent": str(assessment.agent),
        "state": assessment.state,
        "healthy": assessment.is_healthy,
        "critical": assessment.critical,
        "upstream": [str(name) for name in assessment.upstream],
        "checks": [
            {"name": check.name, "dimension": check.dimension, "state": check.state, "text": check.text}
            for check in assessment.checks
        ],
    }


def _text(assessments: list[Assessment]) -> str:
    rows = [
        (str(one.agent), str(one.state), *(str(one.dimension(dimension) or "-") for dimension in SHOWN))
        for one in assessments
    ]
    lines = [table(("AGENT", "HEALTH", *(dimension.upper() for dimension in SHOWN)), rows)]
    for one in assessments:
        lines += [
            f"{one.agent}: {check.name}: {one_line(check.text, 400)}"
            for check in one.checks
            if check.state not in (HealthState.HEALTHY, HealthState.UNKNOWN)
        ]
    well = sum(one.is_healthy for one in assessments)
    lines.append(f"{well} of {len(assessments)} well.")
    return "\n".join(lines)


command = build(
    health,
    name="health",
    examples=("reconciler health", "reconciler health -n demo -o json", "reconciler health demo/hello"),
)
