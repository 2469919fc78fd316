"""The chart's `_helpers.tpl`: what its templates share. The text of a Helm template, the same for every agent.

May live here: Go templates. `@NAME@` stands for the chart's name, so that charts which are put together keep their
helpers apart. What people write for an agent never stands in a template: it is in the values, which Helm does not
evaluate, and goes through `quote`, whose escapes are YAML's.
"""

from __future__ import annotations

HELPERS = r"""{{/*
What the templates of this chart share. Text of the values is written with `quote`, or one line of flow style by
"@NAME@.inline": block style breaks on characters that text may have, and says nothing of it.
*/}}

{{- define "@NAME@.name" -}}
{{ default .Chart.Name .Values.nameOverride }}
{{- end }}

{{/* A Service's name begins with a letter (RFC 1035), which an agent's need not. */}}
{{- define "@NAME@.serviceName" -}}
{{- $name := include "@NAME@.name" . -}}
{{- if regexMatch "^[a-z]" $name }}{{ $name }}{{ else }}{{ printf "a-%s" $name | trunc 63 | trimAll "-" }}{{ end }}
{{- end }}

{{- define "@NAME@.accountName" -}}
{{ default (include "@NAME@.name" .) .Values.serviceAccount.name }}
{{- end }}

{{- define "@NAME@.image" -}}
{{ .Values.image.repository }}
{{- with .Values.image.tag }}:{{ . }}{{ end }}
{{- with .Values.image.digest }}@{{ . }}{{ end }}
{{- end }}

{{/* The image's tag, or the first twelve digits of its digest; "latest" where it has neither. */}}
{{- define "@NAME@.version" -}}
{{- $image := include "@NAME@.image" . }}
{{- $tag := regexFind ":.+$" (regexReplaceAll "^.*/" (splitList "@" $image | first) "") | trimPrefix ":" }}
{{- if $tag }}{{ $tag }}
{{- else if contains "@" $image }}{{ $image | splitList ":" | last | trunc 12 }}
{{- else }}latest
{{- end }}
{{- end }}

{{/* Any text as a label's value: at most 63 characters, cut with a digest so that it stays one's own. */}}
{{- define "@NAME@.labelValue" -}}
{{- $value := regexReplaceAll "[^A-Za-z0-9._-]+" . "-" | trimAll "._-" }}
{{- if gt (len $value) 63 }}
{{- $value = printf "%s-%s" (regexReplaceAll "[._-]+$" (trunc 54 $value) "") (sha256sum . | trunc 8) }}
{{- end }}
{{- $value }}
{{- end }}

{{/* What selects the pods. It cannot change while the Deployment lives. */}}
{{- define "@NAME@.selector" -}}
{{- $labels := dict "agents.codevald.io/agent" (include "@NAME@.name" .) }}
{{- include "@NAME@.strings" (default $labels .Values.deployment.selector) }}
{{- end }}

{{/*
Takes (list CONTEXT OVER LABELS...): those of the values, then more, then the ones that tools go by, and OVER last.
*/}}
{{- define "@NAME@.labels" -}}
{{- $context := first . }}
{{- $name := include "@NAME@.name" $context }}
{{- $labels := dict }}
{{- range $more := slice . 2 }}
{{- range $key, $value := $more }}{{ $_ := set $labels $key $value }}{{ end }}
{{- end }}
{{- $_ := set $labels "agents.codevald.io/agent" $name }}
{{- $_ := set $labels "app.kubernetes.io/name" $name }}
{{- $_ := set $labels "app.kubernetes.io/instance" $name }}
{{- $_ := set $labels "app.kubernetes.io/version" (include "@NAME@.version" $context | include "@NAME@.labelValue") }}
{{- $_ := set $labels "app.kubernetes.io/component" "agent" }}
{{- $_ := set $labels "app.kubernetes.io/part-of" (include "@NAME@.labelValue" $context.Values.fleet) }}
{{- $_ := set $labels "app.kubernetes.io/managed-by" "reconciler" }}
{{- range $key, $value := index . 1 }}{{ $_ := set $labels $key $value }}{{ end }}
{{- include "@NAME@.strings" $labels }}
{{- end }}

{{/* Takes (list CONTEXT GROUP/KIND NAME ANNOTATIONS...): the metadata of one object. */}}
{{- define "@NAME@.metadata" -}}
{{- $context := first . }}
{{- $name := index . 2 }}
{{- $annotations := dict }}
{{- range $more := slice . 3 }}
{{- range $key, $value := $more }}{{ $_ := set $annotations $key $value }}{{ end }}
{{- end }}
{{- if $context.Values.tracking }}
{{- $id := printf "%s:%s/%s:%s" (index . 1) $context.Release.Namespace $name $context.Values.fleet }}
{{- $_ := set $annotations "agents.codevald.io/tracking-id" $id }}
{{- end -}}
name: {{ $name | quote }}
namespace: {{ $context.Release.Namespace | quote }}
labels:
  {{- include "@NAME@.labels" (list $context dict $context.Values.labels) | nindent 2 }}
{{- with $annotations }}
annotations:
  {{- include "@NAME@.strings" . | nindent 2 }}
{{- end }}
{{- end }}

{{/* A map of strings, one a line. */}}
{{- define "@NAME@.strings" -}}
{{- $lines := list }}
{{- range $key, $value := . }}{{ $lines = append $lines (printf "%s: %s" (quote $key) (quote $value)) }}{{ end }}
{{- join "\n" $lines }}
{{- end }}

{{/* Any value on one line, its text quoted. */}}
{{- define "@NAME@.inline" -}}
{{- if kindIs "map" . }}
{{- $items := list }}
{{- range $key, $value := . }}
{{- $items = append $items (printf "%s: %s" (quote $key) (include "@NAME@.inline" $value)) }}
{{- end -}}
{ {{- join ", " $items -}} }
{{- else if kindIs "slice" . }}
{{- $items := list }}
{{- range . }}{{ $items = append $items (include "@NAME@.inline" .) }}{{ end -}}
[ {{- join ", " $items -}} ]
{{- else if kindIs "string" . }}{{ quote . }}
{{- else }}{{ toJson . }}
{{- end }}
{{- end }}

{{/* A whole file as a block where its characters allow it, quoted where not. */}}
{{- define "@NAME@.text" -}}
{{- if regexMatch "^[\\n -~\\x{A0}-\\x{2027}\\x{202A}-\\x{D7FF}\\x{E000}-\\x{FEFE}\\x{FF00}-\\x{FFFD}]*$" . -}}
|
{{ trimSuffix "\n" . }}
{{- else -}}
{{ quote . }}
{{- end }}
{{- end }}

{{/* JSON laid out for people, without the escapes that are only needed inside of HTML. */}}
{{- define "@NAME@.json" -}}
{{- toPrettyJson . | include "@NAME@.unescaped" }}
{{- end }}

{{/* An escaped backslash is put aside meanwhile: what follows it is text. */}}
{{- define "@NAME@.unescaped" -}}
{{- $text := . | replace "\\\\" "\x00" | replace "\\u2028" "\u2028" | replace "\\u2029" "\u2029" }}
{{- $text = $text | replace "\\u003c" "<" | replace "\\u003e" ">" | replace "\\u0026" "&" }}
{{- $text | replace "\x00" "\\\\" }}
{{- end }}

{{/* Takes (list WHAT TEXT): JSON text of the values, refused unless it is an object. */}}
{{- define "@NAME@.object" -}}
{{- $text := default "{}" (index . 1) }}
{{- if not (kindIs "map" (mustFromJson $text)) }}{{ fail (printf "%s must be a JSON object" (first .)) }}{{ end }}
{{- trim $text }}
{{- end }}

{{- define "@NAME@.config" -}}
{{- $text := include "@NAME@.object" (list "config" .Values.config) }}
{{- if .Values.configOverrides }}
{{- include "@NAME@.json" (mergeOverwrite (mustFromJson $text) .Values.configOverrides) }}
{{- else }}
{{- $text }}
{{- end }}
{{- end }}

{{/* The URL of the first TCP port, where the agent speaks A2A; "" where it has none. */}}
{{- define "@NAME@.url" -}}
{{- $found := "" }}
{{- range .Values.ports }}
{{- if and (not $found) (eq (default "TCP" .protocol) "TCP") }}
{{- $found = default .port .servicePort | int | toString }}
{{- end }}
{{- end }}
{{- with $found }}http://{{ include "@NAME@.serviceName" $ }}.{{ $.Release.Namespace }}.svc:{{ . }}/{{ end }}
{{- end }}

{{/* What the process finds in its environment: ours first; a name that the values set is theirs. */}}
{{- define "@NAME@.env" -}}
{{- $own := list (dict "name" "AGENT_NAME" "value" (include "@NAME@.name" .)) }}
{{- $own = append $own (dict "name" "AGENT_NAMESPACE" "value" .Release.Namespace) }}
{{- $own = append $own (dict "name" "AGENT_CONFIG" "value" "/etc/agent/agent.json") }}
{{- $own = append $own (dict "name" "AGENT_CARD" "value" "/etc/agent/agent-card.json") }}
{{- if not .Values.deployment.asFound }}{{ with .Values.ports }}
{{- $own = append $own (dict "name" "HOST" "value" "0.0.0.0") }}
{{- $own = append $own (dict "name" "PORT" "value" (int (first .).port | toString)) }}
{{- range . }}
{{- $name := printf "PORT_%s" (upper .name | replace "-" "_") }}
{{- $own = append $own (dict "name" $name "value" (int .port | toString)) }}
{{- end }}
{{- end }}{{ end }}
{{- with .Values.modelConfig }}{{ with .secret }}
{{- $from := dict "secretKeyRef" (dict "name" .name "key" .key) }}
{{- $own = append $own (dict "name" "MODEL_API_KEY" "valueFrom" $from) }}
{{- end }}{{ end }}
{{- $order := list }}
{{- $entries := dict }}
{{- range concat $own (default list .Values.env) (default list .Values.extraEnv) }}
{{- if not (hasKey $entries .name) }}{{ $order = append $order .name }}{{ end }}
{{- $_ := set $entries .name . }}
{{- end }}
{{- $lines := list }}
{{- range $order }}
{{- $entry := get $entries . }}
{{- $lines = append $lines (printf "- name: %s" (quote .)) }}
{{- if $entry.valueFrom }}
{{- $lines = append $lines (printf "  valueFrom: %s" (include "@NAME@.inline" $entry.valueFrom)) }}
{{- else }}
{{- $lines = append $lines (printf "  value: %s" (default "" $entry.value | quote)) }}
{{- end }}
{{- end }}
{{- join "\n" $lines }}
{{- end }}

{{/* What the agent is told of itself. */}}
{{- define "@NAME@.agentFile" -}}
{
  "config": {{ include "@NAME@.config" . | replace "\n" "\n  " }},
  "description": {{ include "@NAME@.json" (default "" .Values.description) }},
{{- with .Values.modelConfig }}
  "modelConfig": {
    {{- if .secret }}
    "apiKeyEnv": "MODEL_API_KEY",
    {{- end }}
    {{- with .baseUrl }}
    "baseUrl": {{ include "@NAME@.json" . }},
    {{- end }}
    "model": {{ include "@NAME@.json" .model }},
    "parameters": {{ include "@NAME@.object" (list "modelConfig.parameters" .parameters) | replace "\n" "\n    " }},
    "provider": {{ include "@NAME@.json" .provider }}
  },
{{- end }}
  "name": {{ include "@NAME@.name" . | include "@NAME@.json" }},
  "namespace": {{ include "@NAME@.json" .Release.Namespace }},
  "skills": {{ include "@NAME@.json" (default list .Values.skills) | replace "\n" "\n  " }},
  "systemMessage": {{ include "@NAME@.json" (default "" .Values.systemMessage) }},
  "tools": {{ include "@NAME@.json" (default list .Values.tools) | replace "\n" "\n  " }}
}
{{ end }}

{{/* What it shows to others: the A2A v1.0 agent card. */}}
{{- define "@NAME@.cardFile" -}}
{
  "capabilities": {
    "pushNotifications": false,
    "streaming": false
  },
  "defaultInputModes": [
    "text/plain"
  ],
  "defaultOutputModes": [
    "text/plain"
  ],
  "description": {{ include "@NAME@.json" (default "" .Values.description) }},
  "name": {{ include "@NAME@.name" . | include "@NAME@.json" }},
  "skills": {{ include "@NAME@.json" (default list .Values.skills) | replace "\n" "\n  " }},
{{- with include "@NAME@.url" . }}
  "supportedInterfaces": [
    {
      "protocolBinding": "JSONRPC",
      "protocolVersion": "1.0",
      "url": {{ include "@NAME@.json" . }}
    }
  ],
{{- else }}
  "supportedInterfaces": [],
{{- end }}
  "version": {{ include "@NAME@.version" . | include "@NAME@.json" }}
}
{{ end }}

{{/* In the pods' annotations: another configuration rolls them. */}}
{{- define "@NAME@.configHash" -}}
{{- $files := dict "agent.json" (include "@NAME@.agentFile" .) "agent-card.json" (include "@NAME@.cardFile" .) }}
{{- $text := toRawJson $files | replace "\\\\" "\x00" | replace "\\u2028" "\u2028" | replace "\\u2029" "\u2029" }}
{{- $text | replace "\x00" "\\\\" | sha256sum }}
{{- end }}
"""
