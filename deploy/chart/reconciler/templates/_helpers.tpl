{{- define "reconciler.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- /* Pods of a StatefulSet carry its name and a hash in a label of 63 characters: of a longer name none is made. Their
hosts are called as they are, without dots. */ -}}
{{- define "reconciler.workload" -}}
{{- $name := include "reconciler.fullname" . -}}
{{- ternary ($name | replace "." "-" | trunc 52 | trimSuffix "-") $name (gt (int .Values.daemon.replicas) 1) -}}
{{- end -}}

{{- /* A Service's name is one label that begins with a letter (RFC 1035). A release's may begin with a digit, and have dots. */ -}}
{{- define "reconciler.service" -}}
{{- $name := include "reconciler.fullname" . | replace "." "-" -}}
{{- ternary $name (printf "a-%s" $name | trunc 63 | trimSuffix "-") (regexMatch "^[a-z]" $name) -}}
{{- end -}}

{{- define "reconciler.account" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "reconciler.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name is needed where serviceAccount.create is false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- /* A ClusterRole is not of a namespace: two releases of one name must not share it. */ -}}
{{- define "reconciler.role" -}}
{{- printf "%s:%s" .Release.Namespace (include "reconciler.fullname" .) -}}
{{- end -}}

{{- define "reconciler.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "reconciler.labels" -}}
{{ include "reconciler.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: reconciler
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}
