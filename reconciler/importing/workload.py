"""A Deployment with what belongs to it, as fields of an agent.

May live here: what the Deployment and its pods say around the agent's container. Must not: know kagent, or write files.

What an agent cannot say stays on a Deployment that is taken over, as its other manager's. What an agent would add by
itself (security settings, an account of its own, a drain) is added only where it is there already: else the pods might
not start any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reconciler.importing import scaling
from reconciler.importing.container import OWN_ENV, fill, span
from reconciler.importing.families import Family, is_ours
from reconciler.importing.keeping import beside, hardening
from reconciler.importing.notes import Draft
from reconciler.importing.ports import ports
from reconciler.importing.reading import has, mapping, maps, strings, text, whole
from reconciler.model.identity import AgentName
from reconciler.model.objects import AGENT_LABEL, API_VERSION, MAIN_CONTAINER_ANNOTATION
from reconciler.render import container as rendered_container
from reconciler.render import deployment as rendered
from reconciler.render.configmap import AGENT_FILE, CARD_FILE

Body = Mapping[str, Any]

_POD = "Deployment spec.template.spec"
_DEADLINE_S, _GRACE_S, _OUR_TIMEOUT_S = 600, 30, 120
_DEFAULTS: Mapping[str, Any] = {
    "dnsPolicy": "ClusterFirst",
    "restartPolicy": "Always",
    "schedulerName": "default-scheduler",
    "enableServiceLinks": True,
    "shareProcessNamespace": False,
}
_HANDLED = frozenset(
    {
        "containers", "volumes", "serviceAccount", "serviceAccountName", "securityContext", "topologySpreadConstraints",
        "terminationGracePeriodSeconds", "automountServiceAccountToken", "enableServiceLinks",
    }
)  # fmt: skip
_ADVICE: Mapping[str, str] = {
    "initContainers": "an agent has one container; do in its image or command what they prepare",
    "imagePullSecrets": "give them to the pods' service account instead",
    "hostNetwork": "an agent does not use its node's network",
    "nodeSelector": "an agent does not choose nodes",
    "affinity": "an agent does not choose nodes",
    "tolerations": "an agent does not choose nodes",
}
_OWN_LABELS = tuple(
    f"app.kubernetes.io/{name}" for name in ("name", "instance", "version", "component", "part-of", "managed-by")
)
_TOOLS_LABELS = (
    "argocd.argoproj.io/", "kustomize.toolkit.fluxcd.io/", "helm.toolkit.fluxcd.io/", "applyset.kubernetes.io/",
    "kapp.k14s.io/", "helm.sh/", f"{API_VERSION.partition('/')[0]}/",
)  # fmt: skip
_BOOKKEEPING = ("kubectl.kubernetes.io/", f"{API_VERSION.partition('/')[0]}/")


def fill_from_deployment(draft: Draft, family: Family, body: Body) -> None:
    """Put everything that a Deployment and its companions say into a draft."""
    spec = mapping(body, "spec")
    template = mapping(spec, "template")
    pod = mapping(template, "spec")
    container = main_container(draft.name, template)
    path = f"{_POD}.containers[{text(container.get('name'))}]"
    listed = ports(draft, family, container, path)
    found = as_found(family, pod, container, with_ports=bool(listed))
    fill(draft, container, path, own=_own_env(draft.name, listed, as_found=found))
    draft.say(ports=listed)
    _replicas(draft, family, spec)
    draft.say(rollout=_rollout(draft, spec, pod, drain=bool(listed) and not found))
    draft.say(disruption=scaling.disruption(family), deployment=_shape(draft, spec, pod, container, found=found))
    _around(draft, spec, template, pod, container, path)
    hardening(draft, pod, container, (_POD, path), found=found)
    beside(draft, family)
    _labels(draft, body, template, mapping(spec, "selector", "matchLabels"))


def main_container(name: AgentName, template: Body) -> Body:
    """The container that is the agent: the one that kubectl means, else the one called like it, else the first."""
    containers = maps(mapping(template, "spec").get("containers"))
    said = text(mapping(template, "metadata", "annotations").get(MAIN_CONTAINER_ANNOTATION))
    for wanted in (said, rendered_container.CONTAINER, name.name):
        for container in containers:
            if wanted and container.get("name") == wanted:
                return container
    return containers[0] if containers else {}


def as_found(family: Family, pod: Body, container: Body, *, with_ports: bool) -> bool:
    """Whether pods lack something of what an agent's have: then nothing of it is added."""
    mounts = {mount.get("mountPath"): mount.get("name") for mount in maps(container.get("volumeMounts"))}
    drained = mapping(container, "lifecycle") == {"preStop": {"sleep": {"seconds": rendered.PRE_STOP_S}}}
    inside = mapping(family.service.body if family.service else {}, "spec").get("type") in (None, "", "ClusterIP")
    hardened = (
        has(pod, rendered.HARDENED)
        and has(container.get("securityContext"), rendered_container.HARDENED)
        and mounts.get("/tmp") == rendered_container.TMP_VOLUME  # noqa: S108 - a path in the pod
        and drained is with_ports
        and inside
    )
    return not hardened


def _own_env(name: AgentName, listed: list[dict[str, Any]], *, as_found: bool) -> dict[str, str]:
    """What the agent finds in its environment without saying it."""
    own = {
        "AGENT_NAME": name.name,
        "AGENT_NAMESPACE": name.namespace,
        "AGENT_CONFIG": f"{rendered_container.CONFIG_DIR}/{AGENT_FILE}",
        "AGENT_CARD": f"{rendered_container.CONFIG_DIR}/{CARD_FILE}",
    }
    assert own.keys() == OWN_ENV  # noqa: S101 - both are written here
    if listed and not as_found:
        own["HOST"] = "0.0.0.0"  # noqa: S104 - what pods are told
        own["PORT"] = str(listed[0]["port"])
        own |= {f"PORT_{port['name'].upper().replace('-', '_')}": str(port["port"]) for port in listed}
    return own


def _replicas(draft: Draft, family: Family, spec: Body) -> None:
    count = whole(spec.get("replicas"))
    draft.spec["replicas"] = 1 if count is None else count
    scaled = scaling.autoscaling(draft, family)
    if scaled is not None and draft.spec["replicas"]:
        draft.spec["autoscaling"] = scaled
    elif scaled is not None:
        text_ = "nothing runs, so it rests: with more than 0 replicas, say `autoscaling` instead of `replicas`"
        draft.left("HorizontalPodAutoscaler spec", text_)


def _rollout(draft: Draft, spec: Body, pod: Body, *, drain: bool) -> dict[str, Any]:
    strategy = mapping(spec, "strategy")
    rolling = mapping(strategy, "rollingUpdate")
    made: dict[str, Any] = {}
    if strategy.get("type") == "Recreate":
        made |= {"maxSurge": 0, "maxUnavailable": "100%"}
        draft.changes("Deployment spec.strategy", "Recreate becomes a rolling update that may take all pods at once")
    else:
        made |= {"maxSurge": rolling.get("maxSurge", "25%"), "maxUnavailable": rolling.get("maxUnavailable", "25%")}
    deadline = whole(spec.get("progressDeadlineSeconds"))
    if deadline is None:
        deadline = _DEADLINE_S if draft.live else _OUR_TIMEOUT_S
    if deadline != _OUR_TIMEOUT_S:
        made["timeout"] = span(min(deadline, 7 * 86_400))
    settle = whole(spec.get("minReadySeconds"))
    if settle and "readiness" not in draft.spec.get("probes", {}):
        made["settle"] = span(settle)
    elif settle:
        draft.changes(
            "Deployment spec.minReadySeconds", f"{settle} becomes 0: ready is when the readiness probe passes"
        )
    grace = whole(pod.get("terminationGracePeriodSeconds"))
    grace = _GRACE_S if grace is None else grace
    grace -= rendered.PRE_STOP_S if drain else 0
    if grace != _GRACE_S:
        made["terminationGrace"] = span(max(1, grace))
    defaults = {"maxSurge": 1, "maxUnavailable": 0}
    return {key: value for key, value in made.items() if value != defaults.get(key)}


def _shape(draft: Draft, spec: Body, pod: Body, container: Body, *, found: bool) -> dict[str, Any]:
    """What must stay for the Deployment to be taken over where it stands."""
    made: dict[str, Any] = {}
    selector = mapping(spec, "selector")
    labels = strings(selector.get("matchLabels"))
    reserved = any(key.startswith(_TOOLS_LABELS[-1]) for key in labels)
    if selector.get("matchExpressions") or ((reserved or not labels) and not is_ours(labels, draft.name)):
        text_ = "an agent cannot have this selector, so the Deployment is replaced: nothing runs for a moment"
        draft.to_do("Deployment spec.selector", text_)
    elif not is_ours(labels, draft.name):
        made["selector"] = labels
    name = text(container.get("name"))
    if name and name != rendered_container.CONTAINER:
        made["container"] = name
    account = text(pod.get("serviceAccountName")) or "default"
    if found or account != draft.name.name:
        made["serviceAccount"] = account
    if found:
        made["asFound"] = True
    return made


def _around(draft: Draft, spec: Body, template: Body, pod: Body, container: Body, path: str) -> None:
    """What of the pods is in no field of an agent."""
    for key in sorted(pod.keys() - _HANDLED):
        if pod[key] not in (None, "", False, [], {}) and pod[key] != _DEFAULTS.get(key):
            draft.left(f"{_POD}.{key}", _ADVICE.get(key, "an agent has no field for it"))
    for other in maps(pod.get("containers")):
        if other is not container:
            where = f"{_POD}.containers[{text(other.get('name'))}]"
            draft.left(where, f"an agent has one container, and {text(container.get('name')) or 'none'} is it")
    ours = (rendered_container.CONFIG_VOLUME, rendered_container.TMP_VOLUME)
    names = [text(volume.get("name")) for volume in maps(pod.get("volumes")) if volume.get("name") not in ours]
    if names:
        draft.left(f"{_POD}.volumes", f"{', '.join(names)}; an agent has its config and /tmp, and no other volumes")
    for mount in maps(container.get("volumeMounts")):
        if mount.get("mountPath") == rendered_container.CONFIG_DIR and mount.get("name") not in ours:
            draft.changes(f"{path}.volumeMounts[{rendered_container.CONFIG_DIR}]", "the agent's own config comes there")
    said = {key for key in mapping(template, "metadata", "annotations") if not key.startswith(_BOOKKEEPING)}
    if said:
        keys = ", ".join(sorted(said))
        draft.left("Deployment spec.template.metadata.annotations", f"{keys}; an agent's stand on all of its objects")
    if spec.get("paused"):
        draft.changes("Deployment spec.paused", "it goes on: agents are not paused")


def _labels(draft: Draft, body: Body, template: Body, selector: Body) -> None:
    both = strings(mapping(body, "metadata").get("labels")) | strings(mapping(template, "metadata").get("labels"))
    for key, value in sorted(both.items()):
        own = key in _OWN_LABELS or key.startswith(_TOOLS_LABELS) or key in (AGENT_LABEL, "pod-template-hash")
        if not own and key not in selector:
            draft.labels[key] = value
