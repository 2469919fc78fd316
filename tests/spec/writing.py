"""Fleets written in a few lines, for tests of reading."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from reconciler.model.fleet import Declaration
from reconciler.model.source import Blob, Diagnostic, Revision
from reconciler.spec import SpecCache, read_fleet

API = "apiVersion: agents.codevald.io/v1\n"
FLEET = API + "kind: Fleet\nmetadata: {name: acme}\n"
BASE = (
    API
    + """kind: AgentTemplate
metadata: {name: base}
spec:
  image: ghcr.io/acme/agent:1
  ports: [{name: http, port: 8080}]
  resources: {requests: {cpu: 100m, memory: 128Mi}, limits: {memory: 256Mi}}
"""
)
GOOD = API + "kind: Agent\nmetadata: {name: good}\nspec: {extends: [base], description: Healthy}\n"


def blob(text: str | bytes, *, mode: str = "100644") -> Blob:
    """A blob with an id that follows from its bytes."""
    data = text if isinstance(text, bytes) else text.encode()
    return Blob(id=hashlib.sha1(data, usedforsecurity=False).hexdigest(), data=data, mode=mode)


def agent(spec: str, *, name: str = "one", metadata: str = "") -> str:
    """An agent's file: `spec` as indented YAML lines, or in flow style after the colon."""
    body = f" {spec}\n" if spec.startswith("{") else "\n" + "".join(f"  {line}\n" for line in spec.splitlines())
    return f"{API}kind: Agent\nmetadata: {{name: {name}{metadata}}}\nspec:{body}"


def template(name: str, spec: str) -> str:
    """A template's file."""
    return agent(spec, name=name).replace("kind: Agent\n", "kind: AgentTemplate\n")


def files(more: Mapping[str, str | bytes | Blob] | None = None) -> dict[str, Blob]:
    """The blobs of a fleet with one template `base` and one healthy agent `demo/good`, and `more`."""
    texts: dict[str, str | bytes | Blob] = {
        "fleet.yaml": FLEET,
        "templates/base.yaml": BASE,
        "agents/demo/good.yaml": GOOD,
        **(more or {}),
    }
    return {path: text if isinstance(text, Blob) else blob(text) for path, text in texts.items()}


def read(more: Mapping[str, str | bytes | Blob] | None = None, *, cache: SpecCache | None = None) -> Declaration:
    """Read that fleet."""
    return read_fleet(Revision(commit="c" * 40), files(more), cache=cache)


def spec_of(spec: str) -> Declaration:
    """Read it with one more agent, demo/one."""
    return read({"agents/demo/one.yaml": agent(spec)})


def only(declaration: Declaration) -> Diagnostic:
    """The one finding."""
    assert len(declaration.diagnostics) == 1, [f"{one.position}: {one.message}" for one in declaration.diagnostics]
    return declaration.diagnostics[0]


def codes(declaration: Declaration) -> list[str]:
    """The codes of all findings, in their order."""
    return [one.code for one in declaration.diagnostics]
