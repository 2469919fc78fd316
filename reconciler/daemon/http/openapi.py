"""The OpenAPI 3.1 document of the interface, made of the routes that serve it.

`python -m reconciler.daemon.http.openapi --write FILE` writes it, `--check FILE` exits 1 where a file is out of date.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from reconciler.daemon.http.access import Right
from reconciler.daemon.http.problems import PROBLEM, ProblemShape
from reconciler.daemon.http.routes import JSON, LABEL, NAME, Route

REF = "#/components/schemas/{name}"
_IN_PATH = {"namespace": f"^{LABEL}$", "name": f"^{NAME}$"}
ANY = {
    400: "What is asked cannot be meant: with its place, where it is a query",
    408: "The request came too slowly",
    413: "The body is too large",
    415: "The body is of another type, or encoded",
    421: "The Host is none of this daemon's",
    429: "Too many requests of one client: Retry-After says when",
    500: "A fault of the daemon's own",
    503: "It cannot be answered now: Retry-After says when",
    504: "It took too long",
}
_OF_PROBES = (400, 421, 500, 504)
GUARDED = {401: "Nobody that is known asks", 403: "Who asks may not"}


def document(routes: Sequence[Route]) -> dict[str, Any]:
    """The whole document, equal for equal routes."""
    kinds = _kinds(routes)
    schemas, components = msgspec.json.schema_components(kinds, ref_template=REF)
    by_kind = dict(zip(map(_key, kinds), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, by_kind, components)
    used = {name: value for name, value in components.items() if not _is_query(name, routes)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "reconciler daemon",
            "version": "1",
            "description": "See docs/http.md. Errors are problem details (RFC 9457).",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(used.items())),
            "responses": {
                f"Problem{status}": _problem(said, by_kind) for status, said in sorted((ANY | GUARDED).items())
            },
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "certificate": {"type": "mutualTLS"},
            },
        },
    }


def text(routes: Sequence[Route]) -> str:
    """The document as it is kept."""
    return json.dumps(document(routes), indent=2, ensure_ascii=False) + "\n"


def _kinds(routes: Iterable[Route]) -> list[Any]:
    kinds: dict[Any, None] = {ProblemShape: None}
    for route in routes:
        for kind in (route.asked, route.given, route.answers):
            if kind is not None and kind is not str:
                kinds[kind] = None
    return list(kinds)


def _key(kind: Any) -> str:
    return str(kind.__name__)


def _is_query(name: str, routes: Iterable[Route]) -> bool:
    return any(route.asked is not None and _key(route.asked) == name for route in routes)


def _operation(route: Route, schemas: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {"operationId": route.name, "summary": route.summary}
    if route.text:
        made["description"] = route.text
    if route.right is not None:
        made["security"] = [{"token": []}, {"certificate": []}]
        made["x-right"] = route.right.value
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "pattern": _IN_PATH[name]}}
        for name in re.findall(r"{(\w+)}", route.path)
    ]
    if route.asked is not None:
        parameters += _query(components[_key(route.asked)])
    if route.right is Right.WRITE:
        parameters.append(_idempotency())
    if parameters:
        made["parameters"] = parameters
    if route.given is not None:
        required = bool(components[_key(route.given)].get("required"))
        made["requestBody"] = {"required": required, "content": {JSON: {"schema": schemas[_key(route.given)]}}}
    elif route.given_raw:
        made["requestBody"] = {"required": True, "content": {"application/octet-stream": {}}}
    made["responses"] = _responses(route, schemas)
    return made


def _query(schema: dict[str, Any]) -> list[dict[str, Any]]:
    found = []
    for name, of in schema["properties"].items():
        parameter = {"name": name, "in": "query", "required": False, "schema": dict(of)}
        said = parameter["schema"].pop("description", "")
        found.append({**parameter, "description": said} if said else parameter)
    return found


def _idempotency() -> dict[str, Any]:
    said = "Repeated with the same key within a day, a request is done once and answered as it was."
    pattern = "^[!-~]{1,200}$"
    return {
        "name": "Idempotency-Key", "in": "header", "required": False, "description": said,
        "schema": {"type": "string", "pattern": pattern},
    }  # fmt: skip


def _problem(said: str, schemas: dict[str, Any]) -> dict[str, Any]:
    return {"description": said, "content": {PROBLEM: {"schema": schemas[_key(ProblemShape)]}}}


def _responses(route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    content = {"text/plain": {"schema": {"type": "string"}}}
    if route.answers is not str:
        content = {JSON: {"schema": schemas[_key(route.answers)]}}
    made = {str(status): {"description": said, "content": content} for status, said in route.also.items()}
    made[str(route.status)] = {"description": route.summary, "content": content}
    for status, said in route.problems.items():
        made[str(status)] = _problem(said, schemas)
    for status in (*_OF_PROBES, *(() if route.exempt else ANY), *(GUARDED if route.right is not None else ())):
        made.setdefault(str(status), {"$ref": f"#/components/responses/Problem{status}"})
    if route.right is Right.READ:
        made["304"] = {"description": "It is as If-None-Match says that it was"}
    return dict(sorted(made.items()))
