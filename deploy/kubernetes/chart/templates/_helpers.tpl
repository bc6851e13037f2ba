{{- define "srtrelay.selector" -}}
app.kubernetes.io/name: srtrelay
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "srtrelay.labels" -}}
{{ include "srtrelay.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion }}
{{- end }}

{{- /* The port at the end of an address setting: 12025 of ":12025". */}}
{{- define "srtrelay.port" -}}
{{ regexFind "[0-9]+$" (toString .) }}
{{- end }}

{{- /* The ports that callers dial, in YAML: config.listen is one address, or several. */}}
{{- define "srtrelay.callers" -}}
{{- $all := get .Values.config "listen" | default ":20080" }}
{{- if not (kindIs "slice" $all) }}{{ $all = splitList "," (toString $all) }}{{ end }}
{{- range $all }}
- {{ include "srtrelay.port" . }}
{{- end }}
{{- end }}

{{- define "srtrelay.scheme" -}}
{{ if .Values.tlsSecret }}https{{ else }}http{{ end }}
{{- end }}

{{- /* The command that keeps the relay's sockets, which pods that take over must not use. */}}
{{- define "srtrelay.keep" -}}
{{ if include "srtrelay.takeover" . }}{{ fail "keep needs runFolder: \"\": it starts a relay that has crashed again with its sockets, which may be another pod's by then if pods take over from each other, see docs/kubernetes.md#upgrades" }}{{ end }}keep
{{- end }}

{{- /* Not empty if pods take over from each other. */}}
{{- define "srtrelay.takeover" -}}
{{ if and .Values.runFolder .Values.capabilities }}yes{{ end }}
{{- end }}
