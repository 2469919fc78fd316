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
from reconciler.spec.fields import ONE_NEEDED
from reconciler.spec.meanings import MEANINGS
from reconciler.spec.shape import PARTIAL, Problem, problems
from reconciler.spec.templates import without_nulls

BASE = "https://agents.codevald.io/schemas/v1"
_WHOLE = frozenset({"FleetMetadata", "AgentMetadata", "TemplateMetadata"})
"""Definitions in which null means nothing, and which no template completes."""


def schemas() -> Mapping[str, JsonObject]:
    """File name to schema: fleet.json, agenttemplate.json, agent.json. The same bytes each time."""
    return {f"{kind.lower()}.json": _schema(kind) for kind in sorted(DOCUMENTS)}


def _schema(kind: str) -> dict[str, Any]:
    raw = DOCUMENTS[kind].model_json_schema(by_alias=True, mode="validation", schema_generator=GenerateJsonSchema)
    raw = _described(DOCUMENTS[kind].__name__, raw)
    definitions = {name: _definition(name, _described(name, item), kind) for name, item in raw.pop("$defs", {}).items()}
    raw["required"] = ["apiVersion", "kind", "metadata", *(["spec"] if kind == "Agent" else [])]
    if kind != "Agent":
        raw["properties"] = {**raw["properties"], "spec": _or_null(raw["properties"]["spec"])}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"{BASE}/{kind.lower()}.json",
        **raw,
        "$defs": definitions,
    }


def _described(name: str, definition: dict[str, Any]) -> dict[str, Any]:
    """One mapping with what each of its fields means, for who hovers over it."""
    told = MEANINGS.get(name)
    if told is None:
        return definition
    fields = {
        key: {**value, "description": told[key]} if key in told else value
        for key, value in definition["properties"].items()
    }
    return {**definition, "properties": fields}


def _definition(name: str, definition: dict[str, Any], kind: str) -> dict[str, Any]:
    """One mapping of the schema. Metadata is judged as it stands; in a fleet nothing is completed by others."""
    kept = dict(definition)
    if name in _WHOLE:
        kept["properties"] = {key: _open(value, null=False) for key, value in kept["properties"].items()}
        return kept
    some = kept.pop(ONE_NEEDED, None)
    if kind != "Fleet":
        kept.pop("required", None)
    elif some:
        kept["anyOf"] = some
    required = kept.get("required", ())
    if isinstance(kept.get("properties"), dict):
        kept["properties"] = {
            key: _open(value) if key in required else _or_null(_open(value))
            for key, value in kept["properties"].items()
        }
    if kept.get("additionalProperties") is False:
        kept["additionalProperties"] = {"type": "null"}
    return kept


def _open(schema: dict[str, Any], *, null: bool = True) -> dict[str, Any]:
    """A mapping by names of a pattern, closed to other names; with `null`, each entry may be null to remove it.

    Pydantic leaves such a mapping open, and says the names' length apart.
    """
    patterns = schema.get("patternProperties")
    if not isinstance(patterns, dict):
        return schema
    names = schema.get("propertyNames", {})
    ahead = f"^(?=.{{{names.get('minLength', 0)},{names.get('maxLength', '')}}}$)"
    kept = {key: value for key, value in schema.items() if key != "propertyNames"}
    kept["patternProperties"] = {
        ahead + pattern.removeprefix("^"): _or_null(value) if null else value for pattern, value in patterns.items()
    }
    kept["additionalProperties"] = {"type": "null"} if null else False
    return kept


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    null = {"type": "null"}
    if null in schema.get("anyOf", ()):
        return schema
    outside = ("title", "default", "description")
    kept = {key: value for key, value in schema.items() if key in outside}
    rest = {key: value for key, value in schema.items() if key not in outside}
    return {"anyOf": [rest, null], **kept}


def shape(document: Any) -> list[Problem]:
    """What is wrong with one document alone, by the models: empty exactly when its JSON Schema accepts it.

    One exception is JSON Schema's: to it `1.0` is a whole number.
    """
    kind = document.get("kind") if isinstance(document, dict) else None
    if not isinstance(kind, str) or kind not in DOCUMENTS:
        return [Problem(code="unknown-kind", message=f"unknown kind {str(kind)[:40]!r}", path=("kind",))]
    if document.get("spec") is None and kind == "Agent":
        return [Problem(code="missing-field", message="'spec' is missing", path=(), key=True)]
    value = {
        key: without_nulls(item) if key == "spec" else item
        for key, item in document.items()
        if item is not None or key != "spec"
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


OPENAPI = "openapi.json"
"""Lies beside the schemas, and is made and checked by the daemon's HTTP server."""


def stale(folder: Path) -> list[str]:
    """The schema files in `folder` that are not as they should be, sorted."""
    wanted = files()
    there = {path.name for path in folder.glob("*.json")} - {OPENAPI}
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
