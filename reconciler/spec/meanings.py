"""What each field means, in the words that an editor shows: a table by authoring model and YAML name.

May live here: one or two sentences a field: what it does, its unit, what its default or absence means. Must not: be
imported by anything but schema generation. A table, as descriptions in the models would cost every command's start.
"""

from __future__ import annotations

from collections.abc import Mapping

_LABELS = "Labels, key to value, as Kubernetes takes them."
_ANNOTATIONS = "Notes for people and other tools, key to text."
_API_VERSION = "The version of this format."
_PORT = "A port of the agent: a name from `ports`, or a number."
_TIMEOUT = "How long to wait for one answer."
_FAILURES = "Failures in a row until it counts as failed."
_SUCCESSES = "Successes in a row until it counts as passed again."
_MEASURE = "The name of the metric."
_TOTAL = "The target for the metric's total."
_PER_POD = "The target for the average per pod, a quantity like 500m or 256Mi."

DOCUMENTS: Mapping[str, Mapping[str, str]] = {
    "AgentDocument": {
        "apiVersion": _API_VERSION,
        "kind": "The kind of this document: one agent.",
        "metadata": "Who the agent is: its name, namespace, labels and annotations.",
        "spec": "What the agent is to be, on top of what its templates say.",
    },
    "TemplateDocument": {
        "apiVersion": _API_VERSION,
        "kind": "The kind of this document: a template.",
        "metadata": "Under which name agents and templates extend this one.",
        "spec": "What all that extend this template start from; any field of an agent may stand here.",
    },
    "FleetDocument": {
        "apiVersion": _API_VERSION,
        "kind": "The kind of this document: the fleet.",
        "metadata": "Which fleet this is.",
        "spec": "Where the fleet runs, where it is on record, and its bounds.",
    },
    "AgentMetadata": {
        "name": "The agent's name, unique in its namespace; both together are its identity.",
        "namespace": "The agent's namespace. Without it the name of the file's folder under `agents/` counts.",
        "labels": f"{_LABELS} `-l` and `--where` select agents by them.",
        "annotations": _ANNOTATIONS,
    },
    "TemplateMetadata": {
        "name": "The template's name, unique in the fleet, as `extends` says it.",
        "labels": f"{_LABELS} Agents do not inherit them.",
        "annotations": f"{_ANNOTATIONS} Agents do not inherit them.",
    },
    "FleetMetadata": {
        "name": "The fleet's name. It marks the objects that the fleet owns.",
        "labels": _LABELS,
        "annotations": _ANNOTATIONS,
    },
}

FLEET: Mapping[str, Mapping[str, str]] = {
    "FleetBody": {
        "clusters": "The clusters that agents may run on. None at all means one embedded cluster on this machine.",
        "registry": "Where agents are on record: SQLite beside fleet.yaml unless said.",
        "quotas": "Bounds for the sum of one namespace's agents. Without one a namespace is not bounded.",
        "deletions": "How many agents one plan may delete: the larger of both bounds. Over it all deletions are held.",
        "alerts": "Where alerts about any agent of the fleet go.",
        "windows": "When changes that come from Git may go out, or may not. Without one they go out at any time.",
    },
    "WindowEntry": {
        "name": "The name of this window, shown with what it holds back.",
        "effect": "`allow`: changes go out while such a window is open, at no other time; `deny`: never while it is.",
        "days": "The days on which it opens. None at all means every day.",
        "from": "When it opens, on the clock of `timezone`.",
        "to": "When it closes; at or before `from`, on the next day.",
        "timezone": "The time zone whose clock counts, with its summer time (like Europe/Berlin).",
        "match": "Whose changes it concerns; without it all agents'.",
    },
    "WindowMatch": {
        "namespaces": "Agents of these namespaces; none at all means all.",
        "labels": "Agents that have all of these labels.",
    },
    "ClusterEntry": {
        "name": "The cluster's name, unique in the fleet.",
        "embedded": "A cluster on this machine that starts each pod as a process.",
        "kubernetes": "A Kubernetes cluster, and how to reach it.",
        "labels": f"{_LABELS} `placement.clusters` selects clusters by them.",
        "weight": "Its share under the placement policy `weighted` (0 takes none), its rank under `failover`.",
    },
    "Embedded": {
        "run": "`processes` starts each pod as a process of this machine; `nothing` starts none.",
    },
    "Kubernetes": {
        "context": "The context of the kubeconfig. Without it the current one.",
        "kubeconfig": "The path of the kubeconfig. Without it $KUBECONFIG, or ~/.kube/config.",
        "inCluster": "Whether to use the service account of the pod that reconciler runs in, instead of a kubeconfig.",
    },
    "RegistryEntry": {
        "sqlite": "A registry in a file of the state folder.",
        "arango": "A registry in ArangoDB.",
    },
    "Sqlite": {
        "path": "The name of the file, in the fleet's state folder `.reconciler/`.",
    },
    "Arango": {
        "url": "The address of the ArangoDB server, or of one coordinator of a cluster.",
        "coordinators": "Further coordinators of the same cluster, tried in this order when one is away.",
        "caFile": "The path of the certificates to trust. Without it those that come with the requests package.",
        "database": "The name of the database.",
        "usernameEnv": "The environment variable that holds the user name; begins with ARANGO_ or RECONCILER_.",
        "passwordEnv": "The environment variable that holds the password; begins with ARANGO_ or RECONCILER_.",
    },
    "QuotaEntry": {
        "namespace": "The namespace that is bounded.",
        "agents": "The most agents; without it no bound.",
        "replicas": "The most replicas of all agents together; without it no bound.",
        "cpu": "The most CPU of all requests, times replicas, in cores (like 20 or 500m); without it no bound.",
        "memory": "The most memory of all requests, times replicas, in bytes (like 80Gi); without it no bound.",
    },
    "Deletions": {
        "max": "The most agents that one plan may delete, where `percent` does not allow more.",
        "percent": "The share of the agents on record that one plan may delete, in percent, where `max` allows fewer.",
    },
    "AlertEntry": {
        "name": "The name of this route, shown with its alerts.",
        "match": "Which alerts go here; without it all do.",
        "webhook": "Post alerts as JSON to an address.",
        "slack": "Post alerts to a Slack webhook.",
        "pagerduty": "Raise alerts as events of a PagerDuty service.",
        "alertmanager": "Post alerts to Prometheus Alertmanager.",
        "email": "Send alerts by e-mail.",
        "apprise": "Send alerts through Apprise, which knows many services. Needs the extra: reconciler[apprise].",
        "group": "Which alerts are told together, and how soon. Without it as suits the receiver.",
        "repeat": "After how long what goes on is told again: 4h unless said, to Alertmanager 5m.",
        "resolved": "Whether it is told as well when alerts are over: yes unless said.",
        "message": "Title and text of the messages. Without it our own.",
    },
    "GroupEntry": {
        "by": "What the alerts that are told together have in common: name, namespace, agent, cluster, severity, "
        "labels.KEY; `alert` tells each by itself. Unless said name and namespace; to PagerDuty alert.",
        "wait": "How long to wait for more after a first alert: 10s unless said, to Alertmanager not at all.",
        "interval": "The least time between two messages of a group: 1m unless said, to Alertmanager 5s.",
    },
    "MessageEntry": {
        "title": "A template of the title, like `$severity: $name $agent`. docs/alerts.md lists the fields.",
        "text": "A template of the text, like `$alerts`. Fields are all that is in it: nothing is executed.",
    },
    "Match": {
        "severity": "Only alerts of this severity or a worse one; without it of any.",
        "name": "Only alerts of this kind, like AgentUnhealthy; without it of any.",
        "namespace": "Only alerts of agents in this namespace; without it of any.",
        "labels": "Only alerts of agents that have all of these labels.",
    },
    "UrlReceiver": {
        "urlEnv": "The environment variable that holds the address.",
    },
    "WebhookReceiver": {
        "urlEnv": "The environment variable that holds the address.",
        "secretEnv": "The environment variable that holds the key that messages are signed with (HMAC-SHA256).",
    },
    "KeyReceiver": {
        "routingKeyEnv": "The environment variable that holds the routing key.",
        "urlEnv": "The environment variable that holds the address, where it is not PagerDuty's in the United States.",
    },
    "AlertmanagerReceiver": {
        "urlEnv": "The environment variable that holds the address, like http://alertmanager:9093.",
        "tokenEnv": "The environment variable that holds a bearer token, where it asks for one.",
    },
    "EmailReceiver": {
        "to": "The addresses that get the mail.",
        "smtpEnv": "The environment variable that holds the URL of the SMTP server, like smtps://USER:PASSWORD@HOST.",
        "from": "The address that the mail comes from. Without it the user of the server, where that is an address.",
    },
}

AGENT: Mapping[str, Mapping[str, str]] = {
    "AgentBody": {
        "extends": "Templates to start from, by name; later ones win over earlier ones, this file over all.",
        "description": "What the agent is for, in a sentence. It stands in the agent's card.",
        "image": "The container image. An agent must have one, from its file or a template.",
        "command": "The program and its first arguments; without it the image's own.",
        "args": "Arguments behind `command`.",
        "env": "Environment variables, names unique. Beside them the process gets AGENT_NAME, PORT and the like.",
        "replicas": "How many pods, over all clusters (on each with the placement policy `all`); 1 unless said. "
        "Not beside `autoscaling`.",
        "autoscaling": "Lets an autoscaler set the number of replicas by load, instead of `replicas`.",
        "resources": "What each pod asks for and may use at most.",
        "modelConfig": "The language model that the agent uses.",
        "systemMessage": "The instructions that the model gets first.",
        "tools": "What the agent may use: tools of MCP servers, and other agents.",
        "skills": "What the agent can do for others. They stand in its card.",
        "config": "Settings of the agent's own, any YAML. It finds them in the file that AGENT_CONFIG names.",
        "ports": "Ports that the agent listens on. The first one is told to the process as PORT.",
        "probes": "How the cluster learns whether a pod has started, is ready and is alive.",
        "health": "How the health sweep assesses the agent.",
        "recovery": "What is tried, in which order, when the agent is unhealthy.",
        "rollout": "How a change reaches the running pods, and what a failed one leads to.",
        "disruption": "How many pods maintenance of nodes may take at once: 1 unless said. "
        "A single pod is protected only where this says so.",
        "placement": "Which clusters the agent may run on, and how its replicas are shared out among them.",
        "dependsOn": "Agents that must be ready first: `name` in this namespace, or `namespace/name`.",
        "wave": "The earliest wave of a plan that the agent may change in. Lower waves are done first.",
        "alerts": "Where alerts about this agent go.",
        "suspend": "Keeps the agent declared and on record, with no replica running.",
        "protect": "Keeps the agent when it disappears from Git or the fleet is destroyed, until this is false again.",
        "adopt": "Takes over objects of these names that already exist and belong to somebody else.",
        "deployment": "What the Deployment of an agent that was taken over had before, and keeps. "
        "`reconciler import` writes it.",
    },
    "Env": {
        "name": "The name of the variable.",
        "value": "The value as it stands here. Not for secrets: use `secret`.",
        "secret": "Takes the value from a secret.",
    },
    "SecretKeyRef": {
        "name": "The name of the secret, in the agent's namespace.",
        "key": "The key within the secret.",
    },
    "ResourcesEntry": {
        "requests": "What each pod reserves, by resource: cpu in cores (500m), memory in bytes (256Mi), others.",
        "limits": "What each pod may use at most, by resource, in the units of `requests`.",
    },
    "ModelConfigEntry": {
        "provider": "Who serves the model, like anthropic.",
        "model": "The model's name, as its provider says it.",
        "secret": "The secret that holds the API key; the process finds it in MODEL_API_KEY.",
        "baseUrl": "The address of the model's API; without it the provider's own.",
        "parameters": "Further settings for calls of the model, handed on as they are.",
    },
    "ToolEntry": {
        "mcpServer": "Tools of an MCP server.",
        "agent": "Another agent as a tool.",
        "requireApproval": "Names of tools that a person must approve each time.",
    },
    "McpServer": {
        "name": "The name of the MCP server.",
        "toolNames": "The tools that the agent may use; without it all that the server has.",
        "url": "The address of the server, where its name is not enough to find it.",
    },
    "ToolAgent": {
        "name": "The agent: `name` in this namespace, or `namespace/name`.",
    },
    "SkillEntry": {
        "id": "The skill's id, unique within the agent.",
        "name": "The skill's name, for people.",
        "description": "What the skill does.",
        "tags": "Words to find the skill by.",
        "examples": "Requests that show what the skill is for.",
    },
}

RUNNING: Mapping[str, Mapping[str, str]] = {
    "PortEntry": {
        "name": "The port's name, for probes and checks; the process finds its number in PORT_NAME.",
        "port": "The number of the port.",
        "protocol": "The protocol spoken on it.",
        "servicePort": "The number under which the Service has it; without it the same.",
    },
    "DeploymentEntry": {
        "selector": "The labels by which the Deployment finds its pods. They cannot change without a replacement; "
        "without them the agent's own label.",
        "container": "The name of the agent's container among others; `agent` unless said.",
        "serviceAccount": "An account that is there, for the pods to run as; without it the agent gets one of its own.",
        "runAsUser": "The number of the user that pods run as, for an image that names none or root: as root they do "
        "not start.",
        "asFound": "Adds nothing to the pods but the agent's config: security settings, account token, drain and PORT "
        "stay as the Deployment has them.",
    },
    "ProbesEntry": {
        "startup": "Until it passes once, the other probes wait.",
        "readiness": "While it fails the pod gets no traffic. A rollout waits for it; "
        "without it a pod is ready when it has stayed up for `rollout.settle`.",
        "liveness": "When it fails the pod's container is restarted.",
    },
    "ProbeEntry": {
        "http": "Passes when a GET answers with a status from 200 to 399.",
        "tcp": "Passes when a connection opens.",
        "grpc": "Passes when the gRPC health service says that it serves.",
        "exec": "Passes when a command within the pod ends with exit code 0.",
        "period": "How often to probe.",
        "timeout": _TIMEOUT,
        "initialDelay": "How long to wait after the start before the first probe.",
        "failureThreshold": _FAILURES,
        "successThreshold": f"{_SUCCESSES} Only readiness probes may ask for more than 1.",
    },
    "Http": {
        "path": "The path of the request, from `/`.",
        "port": _PORT,
        "scheme": "Whether to speak TLS.",
    },
    "Tcp": {"port": _PORT},
    "Grpc": {
        "port": _PORT,
        "service": "The service to ask about; empty means the server as a whole.",
    },
    "Exec": {
        "command": "The program and its arguments; no shell reads it.",
    },
    "AutoscalingEntry": {
        "min": "The fewest replicas, counted like `replicas`.",
        "max": "The most replicas, counted like `replicas`.",
        "metrics": "What is measured. The metric that asks for most replicas wins.",
        "behavior": "How fast to scale; without it as Kubernetes does by default.",
    },
    "MetricEntry": {
        "cpu": "CPU in use: a percentage of the request, or an average per pod.",
        "memory": "Memory in use: a percentage of the request, or an average per pod.",
        "pods": "A metric that each pod reports.",
        "object": "A metric of another Kubernetes object.",
        "external": "A metric from outside of the cluster.",
    },
    "Share": {
        "utilization": "The target as a percentage of the request.",
        "average": _PER_POD,
    },
    "PodsMetric": {"name": _MEASURE, "average": _PER_POD},
    "ObjectMetric": {
        "name": _MEASURE,
        "object": "The object that the metric describes.",
        "value": _TOTAL,
        "average": _PER_POD,
    },
    "MetricObject": {
        "apiVersion": "The API version of the object, like v1.",
        "kind": "The kind of the object, like Service.",
        "name": "The name of the object, in the agent's namespace.",
    },
    "ExternalMetric": {
        "name": _MEASURE,
        "selector": "Labels of the metric that must match.",
        "value": _TOTAL,
        "average": _PER_POD,
    },
    "BehaviorEntry": {
        "scaleUp": "Rules for more replicas.",
        "scaleDown": "Rules for fewer replicas.",
    },
    "ScalingRulesEntry": {
        "stabilization": "How long to look back, so that a short peak or dip changes nothing; "
        "without it Kubernetes' own: 0s up, 5m down.",
        "selectPolicy": "The policy that wins: which changes most or least. `Disabled`: this way it never scales.",
        "policies": "How many replicas may change in a time; without it Kubernetes' own.",
    },
    "ScalingPolicyEntry": {
        "pods": "At most this many replicas in one period.",
        "percent": "At most this many percent of the replicas in one period.",
        "period": "The time that the bound is for.",
    },
}

KEEPING: Mapping[str, Mapping[str, str]] = {
    "HealthEntry": {
        "interval": "How often the agent is assessed.",
        "checks": "What is checked, beside the agent's pods and the agents it depends on, which always are.",
        "failureThreshold": "Failures in a row until a check is unhealthy.",
        "successThreshold": "Successes in a row until a check is healthy again.",
    },
    "CheckEntry": {
        "name": "The check's name, unique within the agent.",
        "connectivity": "Whether each pod answers.",
        "performance": "Whether each pod answers fast and seldom fails.",
        "resources": "Whether each pod stays within a share of its limits.",
        "lifecycle": "Whether all pods are ready and do not restart. It has no settings: `{}`.",
        "dependencies": "Whether the agents that this one depends on are well. It has no settings: `{}`.",
        "a2aCard": "Whether the agent serves the card that is declared: name, description, version and skills. "
        "It has no settings: `{}`.",
        "plugin": "A check of your own.",
        "critical": "Whether a failure makes the agent unhealthy and calls for recovery; `false` only degrades it.",
    },
    "Connectivity": {
        "http": "Passes when a GET answers with a status from 200 to 399.",
        "tcp": "Passes when a connection opens.",
        "grpc": "Passes when the gRPC health service says that it serves.",
        "timeout": _TIMEOUT,
    },
    "Performance": {
        "http": "The request whose answers are timed.",
        "timeout": _TIMEOUT,
        "p50": "The longest that half of the last answers may take.",
        "p95": "The longest that 95 of 100 of the last answers may take.",
        "p99": "The longest that 99 of 100 of the last answers may take.",
        "errorRate": "The share of the last requests that may fail.",
    },
    "ResourceShare": {
        "cpu": "The most CPU in use, of the limit, or of the request where there is no limit.",
        "memory": "The most memory in use, of the limit, or of the request where there is no limit.",
    },
    "Plugin": {
        "name": "The plugin's name.",
        "config": "Settings for the plugin, any YAML.",
    },
    "RecoveryEntry": {
        "ladder": "The remedies, tried from first to last until the agent is healthy.",
        "backoff": "How long to wait between remedies.",
        "attempts": "The most remedies that are tried before the agent is left to people.",
    },
    "BackoffEntry": {
        "initial": "The first wait.",
        "factor": "How many times longer each wait is than the one before.",
        "max": "The longest wait.",
    },
    "RolloutEntry": {
        "maxSurge": "How many pods more than wanted may run meanwhile: a count, or a percentage of the replicas.",
        "maxUnavailable": "How many pods fewer than wanted may be ready meanwhile: a count, or a percentage.",
        "timeout": "How long the pods may take to be ready. After it the rollout has failed.",
        "settle": "How long a process must stay up to count as ready, where there is no readiness probe.",
        "terminationGrace": "How long a pod may take to end by itself. After it the pod is killed.",
        "onFailure": "What a failed rollout leads to: `rollback` to the last good revision, or `stop` and leave it.",
    },
    "DisruptionEntry": {
        "minAvailable": "How many pods must stay: a count (clusters share it as replicas), or a percentage.",
        "maxUnavailable": "How many pods may be away: a count (clusters share it as replicas), or a percentage.",
    },
    "PlacementEntry": {
        "clusters": "Which clusters may be used; without it all of the fleet. An empty selector selects none.",
        "policy": "`spread` shares the replicas out evenly, `weighted` by weight, `all` runs all of them on each "
        "cluster, `failover` on one cluster until that is unwell.",
        "weights": "Weights by cluster name, instead of the clusters' own, for `weighted` and `failover`.",
        "failoverAfter": "How long a cluster must be unwell before the policy `failover` leaves it.",
        "failbackAfter": "How long it must then be well again before the policy `failover` goes back to it.",
    },
    "SelectorEntry": {
        "names": "Clusters by name; further rules here narrow them.",
        "matchLabels": "Clusters that have all of these labels.",
        "matchExpressions": "Clusters whose labels meet all of these conditions.",
    },
    "ExpressionEntry": {
        "key": "The key of the label.",
        "operator": "How the label is judged. `NotIn` holds as well where the label is missing.",
        "values": "The values for `In` and `NotIn`.",
    },
}

MEANINGS: Mapping[str, Mapping[str, str]] = {**DOCUMENTS, **FLEET, **AGENT, **RUNNING, **KEEPING}
"""Name of the authoring model, then YAML name of the field, to its description."""
