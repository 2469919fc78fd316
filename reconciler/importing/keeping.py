"""What an agent would have in its own way, or not at all, and what is found there instead: told, so that none is lost
without a word.

May live here: settings of security, hooks and spreading of pods, and what a Service and annotations say beside what an
agent says. Must not: write fields of an agent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from reconciler.importing.families import Family
from reconciler.importing.notes import Draft
from reconciler.importing.reading import mapping, maps, strings, text
from reconciler.model.objects import AGENT_LABEL, API_VERSION
from reconciler.render import container as rendered_container
from reconciler.render import deployment as rendered

Body = Mapping[str, Any]

MAX_SHOWN = 80
_SPREAD = ("kubernetes.io/hostname", "ScheduleAnyway")
_PORT = frozenset({"name", "port", "targetPort", "protocol", "nodePort"})
_SERVICE = frozenset({"ports", "selector", "clusterIPs", "ipFamilies", "healthCheckNodePort"})
"""What an agent says of a Service, and what servers allocate."""
_SERVICE_DEFAULTS: Mapping[str, Any] = {
    "type": "ClusterIP",
    "sessionAffinity": "None",
    "internalTrafficPolicy": "Cluster",
    "externalTrafficPolicy": "Cluster",
    "ipFamilyPolicy": "SingleStack",
    "allocateLoadBalancerNodePorts": True,
}
_BOOKKEEPING = (
    "kubectl.kubernetes.io/", "deployment.kubernetes.io/", "meta.helm.sh/", "helm.sh/", "argocd.argoproj.io/",
    "kustomize.toolkit.fluxcd.io/", "helm.toolkit.fluxcd.io/", "kapp.k14s.io/", "config.k8s.io/",
    "config.kubernetes.io/", f"{API_VERSION.partition('/')[0]}/",
)  # fmt: skip
_EMPTY: tuple[Any, ...] = (None, "", False, [], {})


def hardening(draft: Draft, pod: Body, container: Body, paths: tuple[str, str], *, found: bool) -> None:
    """What pods and the agent's container may do, their hooks, and how they are spread. `found`: all stays as it is."""
    of_pod, of_container = paths
    ours: Body = {} if found else rendered.HARDENED["securityContext"]
    _security(draft, mapping(pod, "securityContext"), ours, of_pod)
    _security(draft, mapping(container, "securityContext"), {} if found else rendered_container.HARDENED, of_container)
    for key in ("automountServiceAccountToken", "enableServiceLinks") if found else ():
        if pod.get(key) is False:
            draft.left(f"{of_pod}.{key}", "false; an agent has it only with all of its security settings")
    if found and container.get("lifecycle") not in _EMPTY:
        draft.left(f"{of_container}.lifecycle", "an agent has no hooks of its own")
    for item in maps(pod.get("topologySpreadConstraints")):
        key = text(item.get("topologyKey"))
        if (key, item.get("whenUnsatisfiable")) != _SPREAD:
            draft.left(f"{of_pod}.topologySpreadConstraints[{key}]", "an agent is spread over nodes, where that can be")


def _security(draft: Draft, said: Body, ours: Body, path: str) -> None:
    keys = [
        key for key in sorted(said) if said[key] != ours.get(key) and (said[key] is False or said[key] not in _EMPTY)
    ]
    if keys:
        draft.left(f"{path}.securityContext", f"{', '.join(keys)}; an agent has no field for that")


def beside(draft: Draft, family: Family) -> None:
    """What a Service says beside its ports, whom it leads to, and notes for other programs."""
    for item in (family.deployment, family.service):
        keys = sorted(key for key in item.annotations if not key.startswith(_BOOKKEEPING)) if item else []
        if item and keys:
            text_ = f"{', '.join(keys)}; an agent's stand on all of its objects"
            draft.left(f"{item.ref.kind} metadata.annotations", text_)
    if family.service is not None:
        spec = mapping(family.service.body, "spec")
        for path, value in _of_service(spec):
            shown = value if isinstance(value, str) else msgspec.json.encode(value, enc_hook=str).decode()
            draft.left(f"Service spec.{path}", f"{shown[:MAX_SHOWN]}; an agent does not say it")
        _selector(draft, "Service", spec.get("selector"), "callers reach all pods that have these labels")
    if family.budget is not None:
        selector = mapping(family.budget.body, "spec", "selector")
        more = selector.get("matchExpressions")
        said = {} if more else selector.get("matchLabels")
        _selector(draft, "PodDisruptionBudget", said, "it protects all pods that have these labels")


def _selector(draft: Draft, kind: str, said: Any, why: str) -> None:
    """Whom an object selects, where an adoption makes it the agent's own selector and that is another one."""
    becomes, was = draft.spec.get("deployment", {}).get("selector") or {AGENT_LABEL: draft.name.name}, strings(said)
    if was != becomes:
        shown = [",".join(f"{key}={value}" for key, value in sorted(one.items())) for one in (was, becomes)]
        draft.changes(f"{kind} spec.selector", f"{shown[0] or 'what it has'} becomes {shown[1]}: {why}")


def _of_service(spec: Body) -> Iterator[tuple[str, Any]]:
    for key in sorted(spec.keys() - _SERVICE):
        value = spec[key]
        allocated = key == "clusterIP" and value != "None"
        if value not in _EMPTY and value != _SERVICE_DEFAULTS.get(key) and not allocated:
            yield key, value
    for port in maps(spec.get("ports")):
        for key in sorted(port.keys() - _PORT):
            yield f"ports[{port.get('port')}].{key}", port[key]
