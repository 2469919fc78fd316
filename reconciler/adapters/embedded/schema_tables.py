"""Which fields the known kinds have, of what type, and how lists and maps of them merge. Tables only, no rules.

The facts are those of the Kubernetes 1.36 API (its OpenAPI description and the x-kubernetes-list-type, -map-type and
-list-map-keys marks in it). A line of a table is `field type`:

    str int bool quantity intstr time bytes any     scalars (any: an opaque value, replaced as a whole)
    Name            a type of the tables            {T}    a map, merged by key
    [T]             a list, replaced as a whole     [T by k1,k2=D]  a list, merged by its keys (k2 defaulting to D)
    [T set]         a list of distinct scalars      T!     a map or type, replaced as a whole
    T*              kept when it is zero or empty; everything else that is zero is owned, but not stored

Alpha fields are left out. The types of volumes are in `schema_volumes`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from reconciler.adapters.embedded.schema_volumes import VOLUMES
from reconciler.model.errors import Rejected
from reconciler.model.identity import ObjectRef


class Shape(Enum):
    SCALAR = 0
    STRUCT = 1
    MAP = 2
    LIST = 3
    """Associative."""
    SET = 4
    ATOMIC = 5
    """A list, map or type that is replaced as a whole; its inside is still checked."""


@dataclass(slots=True, eq=False)
class Node:
    """A type. `fields` of a struct; `item` of lists and maps; `keys` of an associative list with their defaults."""

    shape: Shape
    scalar: str = ""
    fields: dict[str, Node] = field(default_factory=dict)
    item: Node | None = None
    keys: tuple[tuple[str, Any], ...] = ()
    inner: Node | None = None
    """What an ATOMIC node looks like inside."""
    keep: bool = False


@dataclass(slots=True, eq=False)
class Kind:
    """A kind: where it lives, and whether writes of its spec move a generation."""

    group: str
    version: str
    name: str
    namespaced: bool
    generation: bool
    node: Node

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


_KINDS = """
v1 Namespace cluster -
v1 Node cluster -
v1 ConfigMap namespaced -
v1 Secret namespaced -
v1 Service namespaced -
v1 ServiceAccount namespaced -
v1 Event namespaced -
v1 Pod namespaced generation
apps/v1 Deployment namespaced generation
apps/v1 ReplicaSet namespaced generation
autoscaling/v2 HorizontalPodAutoscaler namespaced -
policy/v1 PodDisruptionBudget namespaced generation
"""

_META = """
ObjectMeta
  name str; generateName str; namespace str; uid str; resourceVersion str; generation int; selfLink str
  creationTimestamp time; deletionTimestamp time; deletionGracePeriodSeconds int*
  labels {str}; annotations {str}; finalizers [str set]; ownerReferences [OwnerReference by uid]; managedFields [any]
OwnerReference!
  apiVersion str; kind str; name str; uid str; controller bool*; blockOwnerDeletion bool*
LabelSelector!
  matchLabels {str}; matchExpressions [Requirement]
Requirement
  key str; operator str; values [str]
Reference!
  name str
ObjectReference!
  apiVersion str; fieldPath str; kind str; name str; namespace str; resourceVersion str; uid str
Condition
  type str; status str; reason str; message str; observedGeneration int
  lastTransitionTime time; lastUpdateTime time; lastProbeTime time; lastHeartbeatTime time
"""

_SIMPLE = """
Namespace
  apiVersion str; kind str; metadata ObjectMeta; spec NamespaceSpec; status NamespaceStatus
NamespaceSpec
  finalizers [str]
NamespaceStatus
  phase str; conditions [Condition by type]
Node
  apiVersion str; kind str; metadata ObjectMeta; spec NodeSpec; status any
NodeSpec
  configSource any; externalID str; podCIDR str; podCIDRs [str set]; providerID str; taints [any]; unschedulable bool
ConfigMap
  apiVersion str; kind str; metadata ObjectMeta; data {str}; binaryData {bytes}; immutable bool*
Secret
  apiVersion str; kind str; metadata ObjectMeta; data {bytes}; stringData {str}; type str; immutable bool*
ServiceAccount
  apiVersion str; kind str; metadata ObjectMeta; automountServiceAccountToken bool*
  imagePullSecrets [Reference]; secrets [ObjectReference by name]
Event
  apiVersion str; kind str; metadata ObjectMeta; action str; count int; eventTime time; firstTimestamp time
  involvedObject ObjectReference; lastTimestamp time; message str; reason str; related ObjectReference
  reportingComponent str; reportingInstance str; series any; source any; type str
Service
  apiVersion str; kind str; metadata ObjectMeta; spec ServiceSpec; status ServiceStatus
ServiceSpec
  allocateLoadBalancerNodePorts bool*; clusterIP str; clusterIPs [str]; externalIPs [str]; externalName str
  externalTrafficPolicy str; healthCheckNodePort int; internalTrafficPolicy str; ipFamilies [str]; ipFamilyPolicy str
  loadBalancerClass str*; loadBalancerIP str; loadBalancerSourceRanges [str]; publishNotReadyAddresses bool
  ports [ServicePort by port,protocol=TCP]; selector {str}!; sessionAffinity str; trafficDistribution str
  sessionAffinityConfig SessionAffinityConfig; type str
ServicePort
  appProtocol str*; name str; nodePort int; port int; protocol str; targetPort intstr
SessionAffinityConfig
  clientIP ClientIP
ClientIP
  timeoutSeconds int*
ServiceStatus
  conditions [Condition by type]; loadBalancer any
PodDisruptionBudget
  apiVersion str; kind str; metadata ObjectMeta; spec PodDisruptionBudgetSpec; status PodDisruptionBudgetStatus
PodDisruptionBudgetSpec
  maxUnavailable intstr*; minAvailable intstr*; selector LabelSelector; unhealthyPodEvictionPolicy str*
PodDisruptionBudgetStatus
  conditions [Condition by type]; currentHealthy int*; desiredHealthy int*; disruptedPods {time}
  disruptionsAllowed int*; expectedPods int*; observedGeneration int
"""

_AUTOSCALER = """
HorizontalPodAutoscaler
  apiVersion str; kind str; metadata ObjectMeta; spec AutoscalerSpec; status AutoscalerStatus
AutoscalerSpec
  behavior Behavior; maxReplicas int*; metrics [MetricSpec]; minReplicas int*; scaleTargetRef ScaleTarget
ScaleTarget
  apiVersion str; kind str; name str
Behavior
  scaleDown ScalingRules; scaleUp ScalingRules
ScalingRules
  policies [ScalingPolicy]; selectPolicy str*; stabilizationWindowSeconds int*; tolerance quantity*
ScalingPolicy
  periodSeconds int*; type str; value int*
MetricSpec
  containerResource ContainerResourceMetric; external ExternalMetric; object ObjectMetric; pods PodsMetric
  resource ResourceMetric; type str
ContainerResourceMetric
  container str; name str; target MetricTarget
ExternalMetric
  metric MetricIdentifier; target MetricTarget
ObjectMetric
  describedObject ScaleTarget; metric MetricIdentifier; target MetricTarget
PodsMetric
  metric MetricIdentifier; target MetricTarget
ResourceMetric
  name str; target MetricTarget
MetricIdentifier
  name str; selector LabelSelector
MetricTarget
  averageUtilization int*; averageValue quantity*; type str; value quantity*
AutoscalerStatus
  conditions [Condition by type]; currentMetrics [any]; currentReplicas int; desiredReplicas int*
  lastScaleTime time; observedGeneration int*
"""

_WORKLOAD = """
Deployment
  apiVersion str; kind str; metadata ObjectMeta; spec DeploymentSpec; status DeploymentStatus
DeploymentSpec
  minReadySeconds int; paused bool; progressDeadlineSeconds int*; replicas int*; revisionHistoryLimit int*
  selector LabelSelector; strategy DeploymentStrategy; template PodTemplate
DeploymentStrategy
  rollingUpdate RollingUpdate; type str
RollingUpdate
  maxSurge intstr*; maxUnavailable intstr*
DeploymentStatus
  availableReplicas int; collisionCount int*; conditions [Condition by type]; observedGeneration int
  readyReplicas int; replicas int; terminatingReplicas int*; unavailableReplicas int; updatedReplicas int
ReplicaSet
  apiVersion str; kind str; metadata ObjectMeta; spec ReplicaSetSpec; status ReplicaSetStatus
ReplicaSetSpec
  minReadySeconds int; replicas int*; selector LabelSelector; template PodTemplate
ReplicaSetStatus
  availableReplicas int; conditions [Condition by type]; fullyLabeledReplicas int; observedGeneration int
  readyReplicas int; replicas int*; terminatingReplicas int*
PodTemplate
  metadata ObjectMeta; spec PodSpec
Pod
  apiVersion str; kind str; metadata ObjectMeta; spec PodSpec; status PodStatus
PodStatus
  conditions [Condition by type]; containerStatuses [any]; ephemeralContainerStatuses [any]
  extendedResourceClaimStatus any
  hostIP str; hostIPs [any]; initContainerStatuses [any]; message str; nominatedNodeName str; observedGeneration int
  phase str; podIP str; podIPs [any]; qosClass str; reason str; resize str; resourceClaimStatuses [any]
  resources any; allocatedResources any; startTime time
PodSpec
  activeDeadlineSeconds int*; affinity Affinity; automountServiceAccountToken bool*
  containers [Container by name]; dnsConfig DnsConfig; dnsPolicy str; enableServiceLinks bool*
  ephemeralContainers [Container by name]; hostAliases [HostAlias by ip]; hostIPC bool; hostNetwork bool; hostPID bool
  hostUsers bool*; hostname str; hostnameOverride str*; imagePullSecrets [Reference by name]
  initContainers [Container by name]; nodeName str; nodeSelector {str}!; os PodOs; overhead {quantity}
  preemptionPolicy str*; priority int*; priorityClassName str; readinessGates [ReadinessGate]
  resourceClaims [ResourceClaim by name]; resources Resources; restartPolicy str; runtimeClassName str*
  schedulerName str; schedulingGates [SchedulingGate by name]; securityContext PodSecurityContext; serviceAccount str
  serviceAccountName str; setHostnameAsFQDN bool*; shareProcessNamespace bool*; subdomain str
  terminationGracePeriodSeconds int*; tolerations [Toleration]; volumes [Volume by name]
  topologySpreadConstraints [SpreadConstraint by topologyKey,whenUnsatisfiable]
PodOs
  name str
SchedulingGate
  name str
DnsConfig
  nameservers [str]; options [any]; searches [str]
HostAlias
  hostnames [str]; ip str
ReadinessGate
  conditionType str
ResourceClaim
  name str; resourceClaimName str*; resourceClaimTemplateName str*
Toleration
  effect str; key str; operator str; tolerationSeconds int*; value str
SpreadConstraint
  labelSelector LabelSelector; matchLabelKeys [str]; maxSkew int*; minDomains int*; nodeAffinityPolicy str*
  nodeTaintsPolicy str*; topologyKey str; whenUnsatisfiable str
Affinity
  nodeAffinity NodeAffinity; podAffinity PodAffinity; podAntiAffinity PodAffinity
NodeAffinity
  preferredDuringSchedulingIgnoredDuringExecution [any]; requiredDuringSchedulingIgnoredDuringExecution any
PodAffinity
  preferredDuringSchedulingIgnoredDuringExecution [any]; requiredDuringSchedulingIgnoredDuringExecution [any]
PodSecurityContext
  appArmorProfile Profile; fsGroup int*; fsGroupChangePolicy str*; runAsGroup int*; runAsNonRoot bool*; runAsUser int*
  seLinuxChangePolicy str*; seLinuxOptions SELinux; seccompProfile Profile; supplementalGroups [int]
  supplementalGroupsPolicy str*; sysctls [any]; windowsOptions Windows
Profile
  localhostProfile str*; type str
SELinux
  level str; role str; type str; user str
Windows
  gmsaCredentialSpec str*; gmsaCredentialSpecName str*; hostProcess bool*; runAsUserName str*
"""

_CONTAINER = """
Container
  args [str]; command [str]; env [EnvVar by name]; envFrom [EnvFrom]; image str; imagePullPolicy str
  lifecycle Lifecycle; livenessProbe Probe; name str; ports [ContainerPort by containerPort,protocol=TCP]
  readinessProbe Probe; resizePolicy [ResizePolicy]; resources Resources; restartPolicy str*; restartPolicyRules [any]
  securityContext SecurityContext; startupProbe Probe; stdin bool; stdinOnce bool; targetContainerName str
  terminationMessagePath str; terminationMessagePolicy str; tty bool; volumeDevices [VolumeDevice by devicePath]
  volumeMounts [VolumeMount by mountPath]; workingDir str
EnvVar
  name str; value str; valueFrom EnvSource
EnvSource
  configMapKeyRef KeyRef; fieldRef FieldRef; fileKeyRef FileKeyRef; resourceFieldRef ResourceFieldRef
  secretKeyRef KeyRef
KeyRef!
  key str; name str; optional bool*
FieldRef!
  apiVersion str; fieldPath str
FileKeyRef!
  key str; optional bool*; path str; volumeName str
ResourceFieldRef!
  containerName str; divisor quantity*; resource str
EnvFrom
  configMapRef OptionalRef; prefix str; secretRef OptionalRef
OptionalRef
  name str; optional bool*
ContainerPort
  containerPort int; hostIP str; hostPort int; name str; protocol str
ResizePolicy
  resourceName str; restartPolicy str
Resources
  claims [RequestedClaim by name]; limits {quantity}; requests {quantity}
RequestedClaim
  name str; request str
VolumeDevice
  devicePath str; name str
VolumeMount
  mountPath str; mountPropagation str*; name str; readOnly bool; recursiveReadOnly str*; subPath str; subPathExpr str
Lifecycle
  postStart Handler; preStop Handler; stopSignal str*
Handler
  exec ExecAction; httpGet HttpAction; sleep SleepAction; tcpSocket TcpAction
ExecAction
  command [str]
HttpAction
  host str; httpHeaders [HttpHeader]; path str; port intstr*; scheme str
HttpHeader
  name str; value str*
SleepAction
  seconds int*
TcpAction
  host str; port intstr*
GrpcAction
  port int*; service str*
Probe
  exec ExecAction; failureThreshold int; grpc GrpcAction; httpGet HttpAction; initialDelaySeconds int
  periodSeconds int; successThreshold int; tcpSocket TcpAction; terminationGracePeriodSeconds int*; timeoutSeconds int
SecurityContext
  allowPrivilegeEscalation bool*; appArmorProfile Profile; capabilities Capabilities; privileged bool*; procMount str*
  readOnlyRootFilesystem bool*; runAsGroup int*; runAsNonRoot bool*; runAsUser int*; seLinuxOptions SELinux
  seccompProfile Profile; windowsOptions Windows
Capabilities
  add [str]; drop [str]
"""

_SCALARS = frozenset({"str", "int", "bool", "quantity", "intstr", "time", "bytes", "any"})
_LIST = re.compile(r"\[(\w+)(?: by (.+)| (set))?\]")


def _build(*tables: str) -> dict[str, Node]:
    """Read the tables. Types may refer to each other in any order."""
    nodes: dict[str, Node] = {name: Node(Shape.SCALAR, scalar=name) for name in _SCALARS}
    atomic: dict[str, Node] = {}
    lines = [line for table in tables for line in table.strip().splitlines()]
    for line in lines:
        if not line.startswith(" "):
            name = line.rstrip("!")
            nodes[name] = Node(Shape.STRUCT)
            if line.endswith("!"):
                atomic[name] = Node(Shape.ATOMIC, inner=nodes[name])
    current = nodes["str"]
    for line in lines:
        if not line.startswith(" "):
            current = nodes[line.rstrip("!")]
            continue
        for part in line.strip().split("; "):
            name, _, text = part.partition(" ")
            current.fields[name] = _type(text, nodes, atomic)
    return {**nodes, **atomic}


def _type(text: str, nodes: dict[str, Node], atomic: dict[str, Node]) -> Node:
    if text.endswith("*"):
        return Node(Shape.SCALAR, scalar=text[:-1], keep=True)
    if text.endswith("!"):
        return Node(Shape.ATOMIC, inner=_type(text[:-1], nodes, atomic))
    if text.startswith("{"):
        return Node(Shape.MAP, item=Node(Shape.SCALAR, scalar=text[1:-1], keep=True))
    if text.startswith("["):
        return _list_type(text, nodes, atomic)
    return atomic.get(text) or nodes[text]


def _list_type(text: str, nodes: dict[str, Node], atomic: dict[str, Node]) -> Node:
    found = _LIST.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no list type")
    name, keys, distinct = found.groups()
    item = atomic.get(name) or nodes[name]
    if keys is not None:
        pairs = (key.partition("=") for key in keys.split(","))
        return Node(Shape.LIST, item=item, keys=tuple((key, value or None) for key, _, value in pairs))
    if distinct:
        return Node(Shape.SET, item=item)
    return Node(Shape.ATOMIC, inner=Node(Shape.LIST, item=item))


def _kinds() -> dict[tuple[str, str], Kind]:
    nodes = _build(_META, _SIMPLE, _AUTOSCALER, _WORKLOAD, _CONTAINER, VOLUMES)
    kinds = {}
    for line in _KINDS.strip().splitlines():
        api, name, where, generation = line.split()
        group, _, version = api.rpartition("/")
        kinds[group, name] = Kind(group, version, name, where == "namespaced", generation == "generation", nodes[name])
    return kinds


KINDS = _kinds()


def kind_of(group: str, name: str, ref: ObjectRef | None = None) -> Kind:
    """The kind of that group and name. Raises Rejected."""
    kind = KINDS.get((group, name))
    if kind is None:
        raise Rejected(
            f"no matches for kind {name!r} in group {group!r}",
            ref=ref,
            hint=f"known kinds: {', '.join(sorted(k for _, k in KINDS))}",
        )
    return kind
