"""What is rendered is what a cluster's store holds afterwards: no field is refused, lost, changed, or changed back.

Zero values are owned and not stored: absent is what they say.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.adapters.embedded.cluster import EmbeddedCluster
from reconciler.model.agent import GrpcTarget, Probes
from reconciler.model.objects import AnyState
from reconciler.render import canonical, render
from tests.placement.builders import agent, resources
from tests.render.test_render import CASES, placed, probe

ODD = agent(
    "support/4ever",
    resources=resources({"cpu": "1.50", "memory": "0.1Gi"}, {"cpu": "2e3", "memory": "1024Mi"}),
    probes=Probes(liveness=probe(GrpcTarget(port="http"))),
    image="registry.example:5000/agents/ever@sha256:" + "ab" * 32,
)
STORED = CASES | {"odd": (ODD, {"local": 2})}


def lost(wanted: Any, live: Any, path: str = "") -> Iterator[str]:
    """Paths of `wanted` that `live` lacks or holds otherwise; lists of objects are compared by place."""
    if isinstance(wanted, dict) and isinstance(live, dict):
        for key, value in wanted.items():
            if key not in live and value not in ("", 0, False):
                yield f"{path}.{key} is gone"
            elif key in live:
                yield from lost(value, live[key], f"{path}.{key}")
    elif isinstance(wanted, list) and isinstance(live, list) and len(wanted) == len(live):
        for index, (one, other) in enumerate(zip(wanted, live, strict=True)):
            yield from lost(one, other, f"{path}[{index}]")
    elif wanted != live:
        yield f"{path}: {wanted!r} became {live!r}"


@pytest.mark.parametrize("case", sorted(STORED))
async def test_everything_is_stored_as_it_was_rendered(case: str, tmp_path: Path) -> None:
    declared, where = STORED[case]
    cluster = EmbeddedCluster.open("local", tmp_path, run="nothing", ensure_supervisor=lambda _: None)
    try:
        for manifests in render(declared, placed(where), fleet="acme").values():
            for manifest in manifests:
                first = await cluster.apply(manifest, AnyState())
                assert list(lost(json.loads(canonical(manifest.body)), first.body)) == []
                again = await cluster.apply(manifest, AnyState())
                assert (again.resource_version, again.uid) == (first.resource_version, first.uid)
    finally:
        await cluster.close()
