"""The chart's templates: one a Kubernetes kind, the notes, and what a package leaves out. The same for every agent.

May live here: Go templates, in the shape of what the modules of `render` make of an agent; `@NAME@` stands for the
chart's name. A value that those modules leave out where it is empty is left out here, too.
"""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.render.chart.helpers import HELPERS

SERVICE_ACCOUNT = r"""{{- if .Values.serviceAccount.create -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- $name := include "@NAME@.accountName" . }}
  {{- $own := .Values.serviceAccount.annotations }}
  {{- include "@NAME@.metadata" (list . "/ServiceAccount" $name .Values.annotations $own) | nindent 2 }}
automountServiceAccountToken: false
{{- end }}
"""

CONFIG_MAP = r"""apiVersion: v1
kind: ConfigMap
metadata:
  {{- include "@NAME@.metadata" (list . "/ConfigMap" (include "@NAME@.name" .) .Values.annotations) | nindent 2 }}
data:
  agent-card.json: {{ include "@NAME@.cardFile" . | include "@NAME@.text" | indent 4 | trim }}
  agent.json: {{ include "@NAME@.agentFile" . | include "@NAME@.text" | indent 4 | trim }}
"""

SERVICE = r"""{{- if .Values.ports -}}
apiVersion: v1
kind: Service
metadata:
  {{- $name := include "@NAME@.serviceName" . }}
  {{- $own := .Values.service.annotations }}
  {{- include "@NAME@.metadata" (list . "/Service" $name .Values.annotations $own) | nindent 2 }}
spec:
  {{- with .Values.service.type }}
  type: {{ quote . }}
  {{- end }}
  selector:
    {{- include "@NAME@.selector" . | nindent 4 }}
  ports:
    {{- range .Values.ports }}
    - name: {{ quote .name }}
      port: {{ int (default .port .servicePort) }}
      protocol: {{ default "TCP" .protocol }}
      targetPort: {{ if and .servicePort (not $.Values.deployment) }}{{ quote .name }}{{ else }}{{ int .port }}{{ end }}
    {{- end }}
{{- end }}
"""

SERVICE_EXPORT = r"""{{- if and .Values.ports .Values.service.export -}}
apiVersion: multicluster.x-k8s.io/v1alpha1
kind: ServiceExport
metadata:
  {{- $group := "multicluster.x-k8s.io/ServiceExport" }}
  {{- include "@NAME@.metadata" (list . $group (include "@NAME@.serviceName" .) .Values.annotations) | nindent 2 }}
{{- end }}
"""

DEPLOYMENT = r"""apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "@NAME@.metadata" (list . "apps/Deployment" (include "@NAME@.name" .) .Values.annotations) | nindent 2 }}
spec:
  {{- if or (not .Values.autoscaling.enabled) (eq (int .Values.replicaCount) 0) }}
  replicas: {{ int .Values.replicaCount }}
  {{- end }}
  paused: false
  minReadySeconds: {{ int .Values.minReadySeconds }}
  progressDeadlineSeconds: {{ int .Values.progressDeadlineSeconds }}
  revisionHistoryLimit: {{ int .Values.revisionHistoryLimit }}
  selector:
    matchLabels:
      {{- include "@NAME@.selector" . | nindent 6 }}
  strategy:
    type: RollingUpdate
    rollingUpdate: {{ include "@NAME@.inline" .Values.rollingUpdate }}
  template:
    metadata:
      labels:
        {{- $selector := default dict .Values.deployment.selector }}
        {{- include "@NAME@.labels" (list . $selector .Values.labels .Values.podLabels) | nindent 8 }}
      annotations:
        {{- $hash := dict "agents.codevald.io/config-hash" (include "@NAME@.configHash" .) }}
        {{- $main := dict }}
        {{- if .Values.deployment }}
        {{- $container := default "agent" .Values.deployment.container }}
        {{- $main = dict "kubectl.kubernetes.io/default-container" $container }}
        {{- end }}
        {{- $annotations := dict }}
        {{- range $more := list .Values.annotations .Values.podAnnotations $main $hash }}
        {{- range $key, $value := $more }}{{ $_ := set $annotations $key $value }}{{ end }}
        {{- end }}
        {{- include "@NAME@.strings" $annotations | nindent 8 }}
    spec:
      serviceAccountName: {{ include "@NAME@.accountName" . | quote }}
      terminationGracePeriodSeconds: {{ int .Values.terminationGracePeriodSeconds }}
      {{- if not .Values.deployment.asFound }}
      automountServiceAccountToken: false
      enableServiceLinks: false
      securityContext:
        runAsNonRoot: true
        {{- with .Values.deployment.runAsUser }}
        runAsUser: {{ int64 . }}
        {{- end }}
        seccompProfile:
          type: RuntimeDefault
      {{- else if .Values.deployment.runAsUser }}
      securityContext:
        runAsUser: {{ int64 .Values.deployment.runAsUser }}
      {{- end }}
      {{- with .Values.imagePullSecrets }}
      imagePullSecrets: {{ include "@NAME@.inline" . }}
      {{- end }}
      {{- with .Values.priorityClassName }}
      priorityClassName: {{ quote . }}
      {{- end }}
      {{- with .Values.nodeSelector }}
      nodeSelector: {{ include "@NAME@.inline" . }}
      {{- end }}
      {{- with .Values.tolerations }}
      tolerations: {{ include "@NAME@.inline" . }}
      {{- end }}
      {{- with .Values.affinity }}
      affinity: {{ include "@NAME@.inline" . }}
      {{- end }}
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels:
              {{- include "@NAME@.selector" . | nindent 14 }}
      containers:
        - name: {{ default "agent" .Values.deployment.container | quote }}
          image: {{ include "@NAME@.image" . | quote }}
          {{- with .Values.image.pullPolicy }}
          imagePullPolicy: {{ . }}
          {{- end }}
          {{- with .Values.command }}
          command: {{ include "@NAME@.inline" . }}
          {{- end }}
          {{- with .Values.args }}
          args: {{ include "@NAME@.inline" . }}
          {{- end }}
          env:
            {{- include "@NAME@.env" . | nindent 12 }}
          {{- with .Values.ports }}
          ports:
            {{- range . }}
            - name: {{ quote .name }}
              containerPort: {{ int .port }}
              protocol: {{ default "TCP" .protocol }}
            {{- end }}
          {{- end }}
          {{- with .Values.resources }}
          resources: {{ include "@NAME@.inline" . }}
          {{- end }}
          {{- with int .Values.drainSeconds }}
          lifecycle:
            preStop:
              sleep:
                seconds: {{ . }}
          {{- end }}
          {{- with .Values.startupProbe }}
          startupProbe: {{ include "@NAME@.inline" . }}
          {{- end }}
          {{- with .Values.readinessProbe }}
          readinessProbe: {{ include "@NAME@.inline" . }}
          {{- end }}
          {{- with .Values.livenessProbe }}
          livenessProbe: {{ include "@NAME@.inline" . }}
          {{- end }}
          terminationMessagePolicy: FallbackToLogsOnError
          {{- if not .Values.deployment.asFound }}
          securityContext:
            allowPrivilegeEscalation: false
            capabilities:
              drop:
                - ALL
            readOnlyRootFilesystem: true
          {{- end }}
          volumeMounts:
            - name: agent-config
              mountPath: /etc/agent
              readOnly: true
            {{- if not .Values.deployment.asFound }}
            - name: agent-tmp
              mountPath: /tmp
            {{- end }}
      volumes:
        - name: agent-config
          configMap:
            name: {{ include "@NAME@.name" . | quote }}
        {{- if not .Values.deployment.asFound }}
        - name: agent-tmp
          emptyDir: {}
        {{- end }}
"""

DISRUPTION_BUDGET = r"""{{- if and .Values.podDisruptionBudget.enabled (gt (int .Values.replicaCount) 0) -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- $name := include "@NAME@.name" . }}
  {{- include "@NAME@.metadata" (list . "policy/PodDisruptionBudget" $name .Values.annotations) | nindent 2 }}
spec:
  selector:
    matchLabels:
      {{- include "@NAME@.selector" . | nindent 6 }}
  unhealthyPodEvictionPolicy: AlwaysAllow
  {{- with .Values.podDisruptionBudget }}
  {{- if ne (toString .minAvailable) "" }}
  minAvailable: {{ include "@NAME@.inline" .minAvailable }}
  {{- else }}
  maxUnavailable: {{ include "@NAME@.inline" .maxUnavailable }}
  {{- end }}
  {{- end }}
{{- end }}
"""

AUTOSCALER = r"""{{- if and .Values.autoscaling.enabled (gt (int .Values.replicaCount) 0) -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  {{- $name := include "@NAME@.name" . }}
  {{- include "@NAME@.metadata" (list . "autoscaling/HorizontalPodAutoscaler" $name .Values.annotations) | nindent 2 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {{ $name | quote }}
  {{- with .Values.autoscaling }}
  minReplicas: {{ int .minReplicas }}
  maxReplicas: {{ int .maxReplicas }}
  {{- with .metrics }}
  metrics:
    {{- range . }}
    - {{ include "@NAME@.inline" . }}
    {{- end }}
  {{- end }}
  {{- with .behavior }}
  behavior: {{ include "@NAME@.inline" . }}
  {{- end }}
  {{- end }}
{{- end }}
"""

NOTES = r"""The agent {{ include "@NAME@.name" . }} is in the namespace {{ .Release.Namespace }}.

Wait until it is ready:
  kubectl -n {{ .Release.Namespace }} rollout status deployment/{{ include "@NAME@.name" . }}
What it prints:
  kubectl -n {{ .Release.Namespace }} logs deployment/{{ include "@NAME@.name" . }}
{{- with include "@NAME@.url" . }}
Where it is called, inside the cluster:
  {{ . }}
{{- end }}
{{- if eq (int .Values.replicaCount) 0 }}
It does not run: replicaCount is 0.
{{- end }}
{{- with .Values.modelConfig }}{{ with .secret }}
It needs the Secret {{ .name }} with the key {{ .key }}, and waits for it.
{{- end }}{{ end }}

These objects are Helm's. A fleet that declares the same agent leaves them alone, unless it says `adopt: true` of it.
"""

IGNORED = """# What `helm package` leaves out.
.DS_Store
.git/
.gitignore
.idea/
.vscode/
*.orig
*.swp
*.tgz
*~
"""

_FILES: Mapping[str, str] = {
    ".helmignore": IGNORED,
    "templates/NOTES.txt": NOTES,
    "templates/_helpers.tpl": HELPERS,
    "templates/configmap.yaml": CONFIG_MAP,
    "templates/deployment.yaml": DEPLOYMENT,
    "templates/horizontalpodautoscaler.yaml": AUTOSCALER,
    "templates/poddisruptionbudget.yaml": DISRUPTION_BUDGET,
    "templates/service.yaml": SERVICE,
    "templates/serviceaccount.yaml": SERVICE_ACCOUNT,
    "templates/serviceexport.yaml": SERVICE_EXPORT,
}


def templates(name: str) -> dict[str, str]:
    """The text of each file, by path, for the chart that is called `name` (a DNS label)."""
    return {path: text.replace("@NAME@", name) for path, text in _FILES.items()}
