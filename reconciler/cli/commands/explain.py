"""`reconciler explain`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from reconciler.cli import options
from reconciler.cli.command import build
from reconciler.cli.fleets import PlanRequest, declared, run
from reconciler.cli.output import emit, one_line, table, to_json
from reconciler.cli.paths import parse_path
from reconciler.cli.planning import find_agent
from reconciler.model.agent import Agent
from reconciler.model.errors import UsageError
from reconciler.model.identity import FieldPath, format_path
from reconciler.model.plan import Masked


def explain(
    agent: options.Agent,
    namespace: options.InNamespace = None,
    path: Annotated[
        str | None, typer.Argument(metavar="[PATH]", help="A field, like resources.limits.memory or env[LOG].value.")
    ] = None,
    ref: options.Ref = None,
    working_tree: options.WorkingTree = False,
    output: options.Output = "text",
) -> None:
    """Say which value a field of an agent has, and where it was written: file and line, layer, commit.

    Without PATH all fields are listed. A default has no place: nobody wrote it.
    """
    declaration = run(declared(PlanRequest(ref=ref, working_tree=working_tree)))
    found = find_agent(declaration, options.agent_named(agent, namespace))
    parts = parse_path(path) if path else ()
    parts = parts[1:] if parts[:1] == ("spec",) else parts  # as it stands in the file
    rows = [_explained(found, leaf, value) for leaf, value in leaves(lookup(found.document, parts, path or ""), parts)]
    if output == "json":
        emit(to_json({"agent": str(found.name), "fields": rows}))
    elif parts and len(rows) == 1 and rows[0]["path"] == format_path(parts):
        emit("\n".join(f"{key + ':':<9}{text}" for key, text in _lines(rows[0])))
    else:
        emit(table(("FIELD", "VALUE", "FROM", "LAYER"), [_row(row) for row in rows]))


def lookup(document: Any, parts: FieldPath, text: str) -> Any:
    """The value at a path. Raises UsageError with the nearest field that is there."""
    from reconciler.spec import nearest

    value = document
    for index, part in enumerate(parts):
        choices = _children(value)
        if part not in choices:
            near = nearest(part, [str(choice) for choice in choices])
            here = f"{format_path(parts[:index])} has" if index else "an agent has"
            hint = f"did you mean '{format_path((*parts[:index], near))}'?" if near else _listed(here, list(choices))
            raise UsageError(f"there is no field '{one_line(text, 80)}'", hint=hint)
        value = choices[part]
    return value


def _listed(here: str, choices: list[str]) -> str:
    return f"{here} {', '.join(choices[:30])}" if choices else f"{here} nothing below it"


def _children(value: Any) -> dict[str, Any]:
    """What a value holds, by the part of a path that leads there."""
    if isinstance(value, dict):
        return value
    if isinstance(value, list | tuple):
        from reconciler.spec.documents import item_name

        return {f"[{item_name(item) or index}]": item for index, item in enumerate(value)}
    return {}


def leaves(value: Any, at: FieldPath) -> Iterator[tuple[FieldPath, Any]]:
    """Every value without anything below it, with its path."""
    children = _children(value)
    if not children:
        yield at, value
    for part, child in children.items():
        yield from leaves(child, (*at, part))


def _explained(agent: Agent, path: FieldPath, value: Any) -> dict[str, Any]:
    from reconciler.spec import origin
    from reconciler.spec.provenance import layer_of

    masked = any(path[: len(secret)] == secret for secret in agent.sensitive)
    written = bool(path) and layer_of(agent.layers, path)[1] == len(path)
    where = origin(agent, path) if written else None
    position = where.position if where else None
    return {
        "path": format_path(path),
        "value": str(Masked.SENSITIVE) if masked else value,
        "file": position.path if position else "",
        "line": position.line if position else 0,
        "layer": where.layer if where else "default",
        "commit": where.revision if where else "",
    }


def _shown(value: Any, *, whole: bool = False) -> str:
    if isinstance(value, str) and whole and "\n" not in value:
        return one_line(value, 10_000)
    text = value if isinstance(value, str) and value == one_line(value) else json.dumps(value, ensure_ascii=False)
    return text if whole else one_line(text, 60)


def _lines(row: dict[str, Any]) -> list[tuple[str, str]]:
    place = f"{row['file']}:{row['line']}" if row["file"] else "nowhere: it is the default"
    return [
        ("field", row["path"]),
        ("value", _shown(row["value"], whole=True)),
        ("from", place),
        ("layer", row["layer"]),
        ("commit", row["commit"] or "-"),
    ]


def _row(row: dict[str, Any]) -> tuple[str, str, str, str]:
    return (row["path"], _shown(row["value"]), f"{row['file']}:{row['line']}" if row["file"] else "-", row["layer"])


command = build(
    explain,
    name="explain",
    examples=(
        "reconciler explain demo/hello",
        "reconciler explain demo/hello resources.limits.memory",
        "reconciler explain demo/hello probes.readiness -o json",
    ),
)
