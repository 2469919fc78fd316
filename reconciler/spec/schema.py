"""JSON Schema 2020-12 of the three kinds, generated from the authoring models, for editors and other tools.

A schema judges one file alone, so it asks for no more than one file must hold: below `spec` of templates and agents
nothing is required but what names an entry (a template may hold the rest), and null is welcome (it removes what a
template set). `shape` judges a document by the models in exactly that sense; a test holds that both agree.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic.json_schema import GenerateJsonSchema

from reconciler.model.source import JsonObject
from reconciler.spec.authoring_fleet import DOCUMENTS
from reconciler.spec.shape import PARTIAL, Problem, problems
from reconciler.spec.templates import without_nulls

BASE = "https://agents.codevald.io/schemas/v1"
_WHOLE = frozenset({"FleetDocument", "FleetMetadata", "AgentMetadata", "TemplateMetadata"})
"""Definitions that no template fills in: what they require is required."""


def schemas() -> Mapping[str, JsonObject]:
    """File name to schema: fleet.json, agenttemplate.json, agent.json. The same bytes each time."""
    return {f"{kind.lower()}.json": _schema(kind) for kind in sorted(DOCUMENTS)}


def _schema(kind: str) -> dict[str, Any]:
    raw = DOCUMENTS[kind].model_json_schema(by_alias=True, mode="validation", schema_generator=GenerateJsonSchema)
    definitions = raw.pop("$defs", {})
    if kind != "Fleet":
        definitions = {name: _relaxed(name, item) for name, item in definitions.items()}
        raw["required"] = ["apiVersion", "kind", "metadata", *(["spec"] if kind == "Agent" else [])]
    else:
        definitions = {name: _nullable(item) for name, item in definitions.items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"{BASE}/{kind.lower()}.json",
        **raw,
        "$defs": definitions,
    }


def _relaxed(name: str, definition: dict[str, Any]) -> dict[str, Any]:
    if name in _WHOLE:
        return _nullable(definition)
    return _nullable({key: value for key, value in definition.items() if key != "required"}, everything=True)


def _nullable(definition: dict[str, Any], *, everything: bool = False) -> dict[str, Any]:
    """Null for each property that need not be there."""
    required = () if everything else definition.get("required", ())
    properties = definition.get("properties")
    if not isinstance(properties, dict):
        return definition
    return {
        **definition,
        "properties": {key: value if key in required else _or_null(value) for key, value in properties.items()},
    }


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    null = {"type": "null"}
    if null in schema.get("anyOf", ()):
        return schema
    outside = ("title", "default", "description")
    kept = {key: value for key, value in schema.items() if key in outside}
    rest = {key: value for key, value in schema.items() if key not in outside}
    return {"anyOf": [rest, null], **kept}


def shape(document: Any) -> list[Problem]:
    """What is wrong with one document alone, by the models: empty exactly when its JSON Schema accepts it."""
    kind = document.get("kind") if isinstance(document, dict) else None
    if not isinstance(kind, str) or kind not in DOCUMENTS:
        return [Problem(code="unknown-kind", message=f"unknown kind {str(kind)[:40]!r}", path=("kind",))]
    value = {
        key: without_nulls(item) if key in ("spec", "metadata") else item
        for key, item in document.items()
        if item is not None or key in ("apiVersion", "kind", "metadata")
    }
    try:
        DOCUMENTS[kind].model_validate(value)
    except ValidationError as error:
        found = problems(error, value, DOCUMENTS[kind])
        return [problem for problem in found if kind == "Fleet" or not _partial(problem)]
    return []


def _partial(problem: Problem) -> bool:
    return problem.code in PARTIAL and problem.path[:1] == ("spec",)


def files() -> dict[str, str]:
    """File name to the text of its schema, as it stands in `schemas/`."""
    return {name: json.dumps(schema, indent=2, ensure_ascii=False) + "\n" for name, schema in schemas().items()}


def stale(folder: Path) -> list[str]:
    """The schema files in `folder` that are not as they should be, sorted."""
    wanted = files()
    there = {path.name for path in folder.glob("*.json")}
    return sorted(
        {name for name, text in wanted.items() if name not in there or (folder / name).read_text("utf-8") != text}
        | (there - wanted.keys())
    )


def main(arguments: list[str]) -> int:
    """`--write DIR` writes the schemas, `--check DIR` says which are stale (exit code 1)."""
    match arguments:
        case ["--write", folder]:
            for name, text in files().items():
                (Path(folder) / name).write_text(text, "utf-8")
            return 0
        case ["--check", folder]:
            names = stale(Path(folder))
            for name in names:
                sys.stderr.write(f"{folder}/{name} is stale; write it anew with `make schemas`\n")
            return 1 if names else 0
    sys.stderr.write("usage: python -m reconciler.spec.schema --check|--write DIR\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
