"""The Deployment: how an agent runs, and how one version of it gives way to the next without a gap."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reconciler.model.agent import Agent, AgentSpec, Rollout
from reconciler.model.objects import CONFIG_HASH_ANNOTATION, MAIN_CONTAINER_ANNOTATION
from reconciler.placement.shares import Share
from reconciler.render.container import CONFIG_VOLUME, TMP_VOLUME, container, container_name
from reconciler.render.metadata import Names

PRE_STOP_S = 5
"""How long a pod that is leaving still serves, so that nobody is sent to it any more when it stops."""
REVISIONS_KEPT = 3
HARDENED: Mapping[str, Any] = {
    "automountServiceAccountToken": False,
    "enableServiceLinks": False,
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
}
"""What pods may not do, unless they were there before the agent was."""


def deployment(names: Names, agent: Agent, *, share: Share, config_hash: str) -> dict[str, Any]:
    """`spec.replicas` is left to the autoscaler where there is one, except at zero, when there is none.

    The time to drain comes on top of the declared grace, so that the process has all of that for itself. That it is not
    paused, and waits for no more than it should, is said although it is the default: no rollout would come to its end
    otherwise, and a good commit would be blamed for what somebody did by hand.
    """
    spec = agent.spec
    drain = PRE_STOP_S if spec.ports and not spec.as_found else 0
    settle = 0 if spec.probes.readiness else spec.rollout.settle.whole_seconds()
    body: dict[str, Any] = {
        "paused": False,
        "minReadySeconds": settle,
        "revisionHistoryLimit": REVISIONS_KEPT,
        "progressDeadlineSeconds": max(spec.rollout.timeout.whole_seconds(), settle + 1),
        "selector": {"matchLabels": dict(names.selector)},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": _rolling(spec.rollout, share)},
        "template": {
            "metadata": {
                "labels": names.pod_labels,
                "annotations": {**names.annotations, **_main(spec), CONFIG_HASH_ANNOTATION: config_hash},
            },
            "spec": {
                "serviceAccountName": account_name(names, spec),
                **_hardened(spec),
                "terminationGracePeriodSeconds": max(1, spec.rollout.termination_grace.whole_seconds()) + drain,
                "topologySpreadConstraints": [
                    {
                        "maxSkew": 1,
                        "topologyKey": "kubernetes.io/hostname",
                        "whenUnsatisfiable": "ScheduleAnyway",
                        "labelSelector": {"matchLabels": dict(names.selector)},
                    }
                ],
                "containers": [container(agent, pre_stop_s=drain)],
                "volumes": [
                    {"name": CONFIG_VOLUME, "configMap": {"name": names.name}},
                    *([] if spec.as_found else [{"name": TMP_VOLUME, "emptyDir": {}}]),
                ],
            },
        },
    }
    if spec.autoscaling is None or share.replicas == 0:
        body["replicas"] = share.replicas
    return {**names.head("apps", "v1", "Deployment"), "spec": body}


def _hardened(spec: AgentSpec) -> dict[str, Any]:
    """What pods may not do, and as whom they run."""
    user = spec.deployment.run_as_user if spec.deployment else None
    said = {} if user is None else {"runAsUser": user}
    if spec.as_found:
        return {"securityContext": said} if said else {}
    return {**HARDENED, "securityContext": {**HARDENED["securityContext"], **said}}


def account_name(names: Names, spec: AgentSpec) -> str:
    """The account that pods run as."""
    return (spec.deployment.service_account if spec.deployment else "") or names.name


def _main(spec: AgentSpec) -> dict[str, str]:
    """Which container is the agent's, where others may stand beside it."""
    return {MAIN_CONTAINER_ANNOTATION: container_name(spec)} if spec.deployment else {}


def _rolling(rollout: Rollout, share: Share) -> dict[str, int | str]:
    """Both zero would never get anywhere, and is refused by API servers: one pod more is the gentler way out.

    Counts are for all of the agent, whose clusters roll out at the same time: each is given its share. Where a pod may
    come on top it gets on without that one goes first.
    """
    surge, unavailable = rollout.max_surge, rollout.max_unavailable
    if surge in {0, "0%"} and unavailable in {0, "0%"}:
        surge = 1
    if isinstance(unavailable, int):
        unavailable = share.at_most(unavailable, least=0 if surge not in {0, "0%"} else 1)
    if isinstance(surge, int):
        surge = share.at_most(surge)
    return {"maxSurge": surge, "maxUnavailable": unavailable}
