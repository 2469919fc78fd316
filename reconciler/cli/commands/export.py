"""`reconciler export`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli import options
from reconciler.cli.charts import check_folder, write_chart
from reconciler.cli.command import build, group, invocation
from reconciler.cli.fleets import PlanRequest, declared, run
from reconciler.cli.output import emit, note, one_line, to_json
from reconciler.cli.planning import find_agent, placed_by_rule
from reconciler.cli.views.diagnostics import plural
from reconciler.model.agent import Agent
from reconciler.model.errors import UsageError
from reconciler.model.fleet import Declaration, FleetSpec
from reconciler.model.identity import AgentName, format_path

if TYPE_CHECKING:
    from reconciler.placement.shares import Share

# Semantic Versioning 2.0.0, which Helm asks of a chart's version.
_NUMBER = r"(?:0|[1-9][0-9]{0,9})"
_PART = rf"(?:{_NUMBER}|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_VERSION = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-{_PART}(?:\.{_PART})*)?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?\Z"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """How charts are wanted."""

    cluster: str | None
    version: str
    force: bool
    sensitive: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A chart that was written."""

    agent: str
    clusters: tuple[str, ...]
    chart: str
    version: str
    folder: str
    files: tuple[str, ...]


def chart(  # noqa: PLR0917 - options of a command
    agents: Annotated[list[str] | None, typer.Argument(metavar="[NAMESPACE/NAME]...", help="The agents.")] = None,
    namespace: Annotated[
        str | None, typer.Option("-n", "--namespace", metavar="NS", help="All agents of this namespace.")
    ] = None,
    all_namespaces: Annotated[bool, typer.Option("-A", "--all-namespaces", help="All agents.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="The chart's folder, or where several charts go, each to DIR/NAMESPACE/NAME (default ./NAME, or .).",
        ),
    ] = None,
    cluster: Annotated[str | None, typer.Option("--cluster", metavar="NAME", help="The share of this cluster.")] = None,
    version: Annotated[str, typer.Option("--version", metavar="VERSION", help="The chart's version.")] = "0.1.0",
    force: Annotated[bool, typer.Option("--force", help="Replace the files of a chart that is there.")] = False,
    include_sensitive: Annotated[
        bool, typer.Option("--include-sensitive", help="Write literal values that look secret into values.yaml.")
    ] = False,
    ref: options.Ref = None,
    working_tree: options.WorkingTree = False,
    output: options.Output = "text",
) -> None:
    """Write an agent as a Helm chart, as the files declare it; no cluster is asked.

    With its default values, in a release whose namespace is the agent's, the chart gives the objects that
    `reconciler render` prints. What Helm installs is Helm's: plans leave it alone, unless the agent says `adopt: true`.
    """
    if not _VERSION.match(version):
        raise UsageError(f"'{one_line(version, 60)}' is not a version that Helm takes", hint="like 1.2.3 or 1.2.3-rc.1")
    if bool(agents) + bool(namespace) + all_namespaces != 1:
        raise UsageError(
            "name agents, or -n NS, or -A for all of them", hint="like: reconciler export chart demo/hello"
        )
    declaration = run(declared(PlanRequest(ref=ref, working_tree=working_tree)))
    if declaration.fleet is None:
        raise UsageError("fleet.yaml cannot be used", hint="`reconciler validate` says why")
    names = _wanted(declaration, agents or (), options.namespace(namespace) if namespace else "")
    order = Order(cluster=cluster, version=version, force=force, sensitive=include_sensitive)
    if agents and len(names) == 1:
        folder = out or Path(names[0].name)
        _show([_export(declaration, names[0], folder, order)], output)
        return
    done, left = [], 0
    for name in names:
        try:
            done.append(_export(declaration, name, (out or Path()) / name.namespace / name.name, order))
        except UsageError as error:
            left += 1
            note(f"left out: {error.message}" + (f" ({error.hint})" if error.hint else ""))
    _show(done, output)
    if left:
        raise typer.Exit(1)


def _wanted(declaration: Declaration, named: Sequence[str], namespace: str) -> list[AgentName]:
    """Whom to export. Those that are declared but invalid are among them: it is said why they are left out."""
    if named:
        return list(dict.fromkeys(options.agent_name(text) for text in named))
    known = sorted({*declaration.agents, *declaration.frozen_agents})
    found = [name for name in known if namespace in ("", name.namespace)]
    if not found:
        raise UsageError(f"no agent is declared{f' in {namespace}' if namespace else ''}")
    return found


def _export(declaration: Declaration, name: AgentName, folder: Path, order: Order) -> Exported:
    """Write one chart. Raises UsageError."""
    from reconciler.render.chart import chart as chart_of

    assert declaration.fleet is not None  # noqa: S101 - checked by the caller
    agent = find_agent(declaration, name)
    if agent.sensitive and not order.sensitive:
        paths = ", ".join(format_path(path) for path in agent.sensitive)
        raise UsageError(
            f"{name} has values that look secret, and a chart would show them: {one_line(paths, 300)}",
            hint="refer to a Secret in the agent, or --include-sensitive writes them",
        )
    clusters, share = _share(declaration.fleet, agent, order.cluster)
    target = invocation().folder() / folder
    check_folder(target, force=order.force)
    files = chart_of(
        agent,
        share=share,
        fleet=declaration.fleet.name,
        clusters=clusters,
        version=order.version,
    )
    write_chart(files, target, private=frozenset({"values.yaml"} if agent.sensitive else ()))
    return Exported(
        agent=str(name),
        clusters=clusters,
        chart=name.name,
        version=order.version,
        folder=str(invocation().typed(folder)),
        files=tuple(files),
    )


def _share(fleet: FleetSpec, agent: Agent, cluster: str | None) -> tuple[tuple[str, ...], Share]:
    """The clusters that a chart is for, and what each of them has. Raises UsageError."""
    from reconciler.placement.shares import shares

    placed = shares(agent.spec.placement, placed_by_rule(fleet, agent))
    if cluster is not None:
        if cluster not in placed:
            raise UsageError(
                f"{agent.name} runs nothing on '{one_line(cluster, 60)}'",
                hint=f"it runs on: {', '.join(placed) or 'no cluster'}",
            )
        return (cluster,), placed[cluster]
    if len({share.replicas for share in placed.values()}) != 1:
        counts = ", ".join(f"{share.replicas} on {name}" for name, share in placed.items())
        raise UsageError(
            f"{agent.name} is not the same on all of its clusters: {counts or 'it runs on none'}",
            hint="say for which one the chart is: --cluster NAME",
        )
    return tuple(placed), next(iter(placed.values()))


def _show(done: Sequence[Exported], output: str) -> None:
    if output == "json":
        emit(to_json({"charts": list(done)}))
        return
    for one in done:
        emit(f"{one.agent}: chart {one.chart} {one.version} in {one.folder}, {plural(len(one.files), 'file')}")
    if len(done) == 1:
        name = done[0]
        emit("Next:")
        emit(f"  helm install {name.chart} {_path(name.folder)} --namespace {name.agent.partition('/')[0]}")


def _path(folder: str) -> str:
    """A folder as Helm takes it for one, and not for a chart of a repository."""
    import shlex

    return shlex.quote(folder if folder.startswith(("/", "./", "../")) else f"./{folder}")


command = group(
    "export",
    "Agents as Helm charts.",
    {
        "chart": build(
            chart,
            name="chart",
            examples=(
                "reconciler export chart demo/hello",
                "reconciler export chart demo/hello --version 1.4.0 --force -o json",
                "reconciler export chart -A --out charts",
            ),
        )
    },
)
