"""The chart's values.yaml: what an agent is, in the form that Kubernetes has for it, and what installers may want.

May live here: which value is called what, what it is by default, and what is told of it. The defaults are taken from
what the modules of `render` make, so that the templates give back the same. JSON that people are free in is kept as
text: Helm turns every number into a float and drops what is null.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reconciler.model.agent import Agent, AgentSpec, ModelConfig, Port, SecretRef
from reconciler.placement.shares import Share
from reconciler.render.autoscaler import autoscaler
from reconciler.render.canonical import pretty
from reconciler.render.chart.text import Section, document
from reconciler.render.configmap import shown_skill, shown_tool
from reconciler.render.container import container_name, env_entry
from reconciler.render.deployment import deployment
from reconciler.render.disruption import disruption_budget
from reconciler.render.metadata import Names

HEAD = """\
# The defaults give what `reconciler render {agent}` prints for {clusters}, where the release is in
# the namespace {namespace}: helm install {name} . --namespace {namespace}

"""


def values(agent: Agent, *, share: Share, fleet: str, clusters: Sequence[str]) -> str:
    """The text of values.yaml for what runs of `agent` on each of `clusters`."""
    names = Names.of(agent, fleet=fleet)
    spec = agent.spec
    running = share
    if not share.replicas:
        running = Share.alone((spec.autoscaling.min if spec.autoscaling else spec.replicas) or 1)
    body = deployment(names, agent, share=running, config_hash="")["spec"]
    sections = [
        *_identity(agent, fleet),
        *_image(spec.image),
        *_told(agent),
        *_process(agent, body["template"]["spec"]),
        *_numbers(names, agent, replicas=share.replicas, running=running),
        *_rollout(body),
        *_installers(spec),
    ]
    name = agent.name
    head = HEAD.format(agent=name, clusters=", ".join(clusters), namespace=name.namespace, name=name.name)
    return head + document(sections)


def _identity(agent: Agent, fleet: str) -> list[Section]:
    return [
        Section(key="nameOverride", value="", comment="What all objects are called; the chart's name unless said."),
        Section(key="fleet", value=fleet, comment="The fleet that the chart comes from, for labels and tracking."),
        Section(
            key="tracking",
            value=True,
            comment="Whether objects carry reconciler's tracking annotation. Helm's own marks go before it: the\n"
            "objects of a release are not the fleet's, unless its agent says `adopt: true`.",
        ),
        Section(key="labels", value=dict(agent.labels), comment="Labels and annotations of every object."),
        Section(key="annotations", value=dict(agent.annotations)),
        Section(key="podLabels", value={}, comment="More of them, for the pods alone."),
        Section(key="podAnnotations", value={}),
    ]


def _image(image: str) -> list[Section]:
    reference, _, digest = image.partition("@")
    folder, slash, last = reference.rpartition("/")
    name, _, tag = last.partition(":")
    parts = {"repository": folder + slash + (name if tag else last), "tag": tag, "digest": digest, "pullPolicy": ""}
    return [
        Section(
            key="image",
            value=parts,
            comment='The tag also becomes the version in labels and card. A digest wins over the tag: empty it ("")\n'
            "to install another tag. pullPolicy is the cluster's choice where it is empty.",
        ),
        Section(key="imagePullSecrets", value=[]),
    ]


def _told(agent: Agent) -> list[Section]:
    """What the agent finds in agent.json and shows in agent-card.json."""
    spec = agent.spec
    return [
        Section(
            key="description",
            value=spec.description,
            comment="What the agent is told of itself, in /etc/agent/agent.json. A change rolls the pods.",
        ),
        Section(key="systemMessage", value=spec.system_message),
        Section(
            key="modelConfig",
            value=_model(spec.model_config),
            comment="provider, model, baseUrl, parameters (JSON text), and the key of a Secret in the namespace that\n"
            "holds the API key.",
        ),
        Section(key="tools", value=[shown_tool(tool) for tool in spec.tools]),
        Section(key="skills", value=[shown_skill(skill) for skill in spec.skills]),
        Section(
            key="config",
            value=_json(spec.config),
            comment="Free configuration, as JSON text: as YAML, Helm would round its numbers and drop its nulls.\n"
            "--set-file config=FILE replaces it; configOverrides is merged over it, key by key.",
        ),
        Section(key="configOverrides", value={}),
    ]


def _model(model: ModelConfig | None) -> dict[str, Any]:
    if model is None:
        return {}
    return {
        "provider": model.provider,
        "model": model.model,
        "baseUrl": model.base_url,
        "secret": _secret(model.secret),
        "parameters": _json(model.parameters),
    }


def _port(port: Port) -> dict[str, Any]:
    shown: dict[str, Any] = {"name": port.name, "port": port.port, "protocol": port.protocol}
    return shown if port.service_port is None else {**shown, "servicePort": port.service_port}


def _shape(spec: AgentSpec) -> dict[str, Any]:
    shape = spec.deployment
    if shape is None:
        return {}
    user = {} if shape.run_as_user is None else {"runAsUser": shape.run_as_user}
    return {"selector": dict(shape.selector), "container": container_name(spec), **user, "asFound": shape.as_found}


def _secret(secret: SecretRef | None) -> dict[str, Any]:
    return {} if secret is None else {"name": secret.name, "key": secret.key}


def _json(value: Mapping[str, Any]) -> str:
    return pretty(value).removesuffix("\n")


def _process(agent: Agent, pod: Mapping[str, Any]) -> list[Section]:
    container = pod["containers"][0]
    drain = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    return [
        Section(key="command", value=list(agent.spec.command), comment="The process: none is the image's own."),
        Section(key="args", value=list(agent.spec.args)),
        Section(
            key="env",
            value=[env_entry(entry) for entry in agent.spec.env],
            comment="The agent's environment, over what it always finds (AGENT_NAME, PORT, ...); extraEnv is\n"
            "added, or replaces what has the same name.",
        ),
        Section(key="extraEnv", value=[]),
        Section(
            key="ports",
            value=[_port(port) for port in agent.spec.ports],
            comment="Without ports there is no Service. The first TCP port is where the agent speaks A2A.\n"
            "servicePort is the Service's number, where it is another.",
        ),
        Section(
            key="service",
            value={"type": "" if agent.spec.as_found else "ClusterIP", "annotations": {}, "export": False},
            comment="export offers it to other clusters, by the multi-cluster Services API (multicluster.x-k8s.io).",
        ),
        Section(key="resources", value=container.get("resources", {})),
        Section(
            key="startupProbe",
            value=container.get("startupProbe", {}),
            comment="Probes as Kubernetes has them. To change the kind of one, null the old: httpGet: null",
        ),
        Section(key="readinessProbe", value=container.get("readinessProbe", {})),
        Section(key="livenessProbe", value=container.get("livenessProbe", {})),
        Section(
            key="drainSeconds",
            value=drain,
            comment="How long a pod that leaves still serves; a part of terminationGracePeriodSeconds.",
        ),
        Section(key="terminationGracePeriodSeconds", value=pod["terminationGracePeriodSeconds"]),
    ]


def _numbers(names: Names, agent: Agent, *, replicas: int, running: Share) -> list[Section]:
    scaler = autoscaler(names, agent.spec, share=running)
    budget = disruption_budget(names, agent.spec, share=running)
    least = running.replicas
    scaling: dict[str, Any] = {"enabled": False, "minReplicas": least, "maxReplicas": least, "metrics": []}
    if scaler is not None:
        wanted = scaler["spec"]
        scaling |= {"enabled": True, "maxReplicas": wanted["maxReplicas"], "metrics": wanted["metrics"]}
        scaling["behavior"] = wanted.get("behavior", {})
    allowed = {"enabled": budget is not None, "minAvailable": "", "maxUnavailable": 1}
    if budget is not None and "minAvailable" in budget["spec"]:
        allowed |= {"minAvailable": budget["spec"]["minAvailable"]}
    elif budget is not None:
        allowed |= {"maxUnavailable": budget["spec"]["maxUnavailable"]}
    return [
        Section(
            key="replicaCount",
            value=replicas,
            comment="0 stops the agent, autoscaled or not. While autoscaling is enabled, any other number is not used.",
        ),
        Section(key="autoscaling", value=scaling),
        Section(
            key="podDisruptionBudget",
            value=allowed,
            comment="minAvailable goes before maxUnavailable where both are there.",
        ),
    ]


def _rollout(body: Mapping[str, Any]) -> list[Section]:
    return [
        Section(
            key="rollingUpdate", value=body["strategy"]["rollingUpdate"], comment="How a version gives way to the next."
        ),
        Section(key="minReadySeconds", value=body["minReadySeconds"]),
        Section(key="progressDeadlineSeconds", value=body["progressDeadlineSeconds"]),
        Section(key="revisionHistoryLimit", value=body["revisionHistoryLimit"]),
    ]


def _installers(spec: AgentSpec) -> list[Section]:
    account = spec.deployment.service_account if spec.deployment else ""
    return [
        Section(
            key="serviceAccount",
            value={"create": not account, "name": account, "annotations": {}},
            comment="The pods' account, without a token; called as the agent unless said.",
        ),
        Section(
            key="deployment",
            value=_shape(spec),
            comment="What a Deployment had before it was an agent's, and keeps: selector, container, asFound (nothing\n"
            "is added to its pods but the agent's config). runAsUser: the number of the user that pods run as, of an\n"
            "image that names none or root: as root no pod starts.",
        ),
        Section(key="nodeSelector", value={}, comment="Where pods may run, as Kubernetes has it."),
        Section(key="tolerations", value=[]),
        Section(key="affinity", value={}),
        Section(key="priorityClassName", value=""),
    ]
