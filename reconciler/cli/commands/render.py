"""`reconciler render`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

import typer

from reconciler.cli import options
from reconciler.cli.command import build
from reconciler.cli.fleets import PlanRequest, declared, run
from reconciler.cli.output import emit, note, one_line, to_json, to_yaml
from reconciler.cli.planning import find_agent, placed_by_rule
from reconciler.model.agent import Agent
from reconciler.model.errors import UsageError
from reconciler.model.fleet import FleetSpec
from reconciler.model.identity import FieldPath
from reconciler.model.plan import Masked
from reconciler.model.source import JsonObject


def render(
    agent: options.Agent,
    namespace: options.InNamespace = None,
    cluster: Annotated[
        str | None, typer.Option("--cluster", metavar="NAME", help="Only what runs on this cluster.")
    ] = None,
    ref: options.Ref = None,
    working_tree: options.WorkingTree = False,
    output: Annotated[Literal["yaml", "json"], typer.Option("-o", "--output", help="Format.")] = "yaml",
) -> None:
    """Print the Kubernetes objects of an agent, as the files declare it; no cluster is asked.

    Literal values that look secret are masked, here as everywhere.
    """
    declaration = run(declared(PlanRequest(ref=ref, working_tree=working_tree)))
    if declaration.fleet is None:
        raise UsageError("fleet.yaml cannot be used", hint="`reconciler validate` says why")
    found = find_agent(declaration, options.agent_named(agent, namespace))
    by_cluster = _manifests(declaration.fleet, masked(found))
    if cluster is not None and cluster not in by_cluster:
        raise UsageError(
            f"{found.name} runs nothing on '{one_line(cluster, 60)}'",
            hint=f"it runs on: {', '.join(by_cluster) or 'no cluster'}",
        )
    chosen = {name: bodies for name, bodies in by_cluster.items() if cluster in (None, name)}
    if found.sensitive:
        note("Some values are masked, so the config hash is not the real one.")
    if output == "json":
        items = [body for bodies in chosen.values() for body in bodies]
        emit(to_json({"apiVersion": "v1", "kind": "List", "items": items}))
        return
    for name, bodies in chosen.items():
        for body in bodies:
            emit(f"---\n# cluster {name}\n" + to_yaml(body))


def _manifests(fleet: FleetSpec, agent: Agent) -> dict[str, tuple[JsonObject, ...]]:
    """Bodies by cluster, placed by the agent's rule alone: nothing that runs is looked at."""
    from reconciler.render import render as rendered

    objects = rendered(agent, placed_by_rule(fleet, agent), fleet=fleet.name)
    return {name: tuple(dict(manifest.body) for manifest in manifests) for name, manifests in sorted(objects.items())}


def masked(agent: Agent) -> Agent:
    """The agent with every literal that looks secret replaced by what stands for it."""
    spec = agent.spec
    hidden = set(agent.sensitive)
    env = tuple(
        replace(item, value=str(Masked.SENSITIVE)) if ("env", f"[{item.name}]", "value") in hidden else item
        for item in spec.env
    )
    model = spec.model_config
    if model is not None:
        parameters = _mask(model.parameters, ("modelConfig", "parameters"), hidden)
        model = replace(model, parameters=parameters)
    return replace(
        agent, spec=replace(spec, env=env, config=_mask(spec.config, ("config",), hidden), model_config=model)
    )


def _mask(value: Any, path: FieldPath, hidden: set[FieldPath]) -> Any:
    """`value` with what stands at a hidden path masked; items of lists are called by name, else by number."""
    if path in hidden:
        return str(Masked.SENSITIVE)
    if isinstance(value, Mapping):
        return {key: _mask(item, (*path, key), hidden) for key, item in value.items()}
    if isinstance(value, list | tuple):
        from reconciler.spec.documents import item_name

        return [_mask(item, (*path, f"[{item_name(item) or index}]"), hidden) for index, item in enumerate(value)]
    return value


command = build(
    render,
    name="render",
    examples=(
        "reconciler render demo/hello",
        "reconciler render demo/hello -o json",
        "reconciler render demo/hello --working-tree",
    ),
)
