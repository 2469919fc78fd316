"""No perpetual diff: straight after an apply a plan is empty, for manifests as tools and people write them.

Each is applied to a real API server and to the embedded cluster, which own, store and refuse alike.
"""

from __future__ import annotations

import pytest

from reconciler.model.errors import Rejected
from reconciler.model.objects import Absent, AnyState, LiveObject, Manifest
from reconciler.ports import Cluster
from tests.drift.conftest import NAMESPACE
from tests.drift.settling import (
    ACCEPTED,
    CORPUS,
    REFUSED,
    bare,
    comparable,
    differences,
    manifest,
    owned,
    settled,
    unlike,
)

NOT_KEPT = {
    "autoscalers/annotations-of-versions": {
        ".metadata.annotations.autoscaling.alpha.kubernetes.io/conditions",
        ".metadata.annotations.autoscaling.alpha.kubernetes.io/metrics",
    },
    "services/affinity-config-without-affinity": {".spec.sessionAffinityConfig.clientIP.timeoutSeconds"},
}
"""What servers take, and do not keep: it is ours all the same, and no drift."""

ALPHA = {
    "deployments/stop-signal": {".spec.template.spec.containers[0].lifecycle"},
    "deployments/volumes-projected": {
        f".spec.template.spec.volumes[0].projected.sources[{index}].clusterTrustBundle" for index in (7, 8)
    },
}
"""Fields of features that are off by default: an API server takes and drops them, the embedded cluster keeps them."""

FAMILIES = {f"services/{name}": {".spec.ipFamilyPolicy"} for name in ("dual-stack", "dual-stack-families")}
"""What an API server remembers of address families that were wanted once; the embedded cluster has one."""


@pytest.mark.parametrize("name", ACCEPTED)
async def test_a_plan_after_an_apply_to_the_embedded_cluster_is_empty(embedded, name, record_property):
    wanted = manifest(name, NAMESPACE)
    live = await settled(embedded, wanted)
    assert set(unlike(wanted.body, live.body)) == NOT_KEPT.get(name, set())
    record_property("settled", "manifests on the embedded cluster")


@pytest.mark.parametrize("name", ACCEPTED)
async def test_a_plan_after_an_apply_to_an_api_server_is_empty(real, embedded, name, record_property):
    wanted = manifest(name, NAMESPACE)
    live = await settled(real, wanted)
    dropped = {path for path in unlike(wanted.body, live.body) if not _is_alpha(name, path)}
    assert dropped == NOT_KEPT.get(name, set())
    assert _unlike_each_other(live, await embedded.apply(wanted, AnyState())) == ALPHA.get(name, set())
    for stage in (bare(wanted), wanted):  # what is dropped goes, and what is said again comes back
        one, other = await _settled_or_refused(real, stage), await _settled_or_refused(embedded, stage)
        if one is None or other is None:
            assert one is other
        else:
            assert _unlike_each_other(one, other) <= ALPHA.get(name, set()) | FAMILIES.get(name, set())
    record_property("settled", "manifests on a real API server")


async def _settled_or_refused(cluster: Cluster, wanted: Manifest) -> LiveObject | None:
    try:
        return await settled(cluster, wanted)
    except Rejected:
        return None


def _unlike_each_other(live: LiveObject, there: LiveObject) -> set[str]:
    assert list(differences(owned(live), owned(there))) == []
    return set(differences(comparable(live), comparable(there)))


def _is_alpha(name: str, path: str) -> bool:
    return any(path.startswith(one) for one in ALPHA.get(name, ()))


@pytest.mark.parametrize("name", REFUSED)
async def test_what_an_api_server_refuses_the_embedded_cluster_refuses(embedded, name):
    wanted = manifest(f"refused/{name}", NAMESPACE)
    with pytest.raises(Rejected):
        await embedded.apply(wanted, AnyState())
    assert await embedded.get(wanted.ref) == Absent()


@pytest.mark.parametrize("name", REFUSED)
async def test_an_api_server_refuses(real, name):
    wanted = manifest(f"refused/{name}", NAMESPACE)
    with pytest.raises(Rejected):
        await real.apply(wanted, AnyState())
    assert await real.get(wanted.ref) == Absent()


def test_every_file_says_what_corner_it_is_and_what_it_is_modelled_on():
    for path in CORPUS.glob("*/*.yaml"):
        corner, model, *_ = path.read_text().splitlines()
        assert corner.startswith("# Corner: "), path
        assert model.startswith("# Modelled on: "), path
        assert corner[-1] == model[-1] == ".", path
