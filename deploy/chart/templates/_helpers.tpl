{{- define "pointsman.name" -}}
{{- if contains "pointsman" .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-pointsman" .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "pointsman.webhook" -}}{{ include "pointsman.name" . }}-webhook{{- end -}}
{{- define "pointsman.triton" -}}{{ include "pointsman.name" . }}-triton{{- end -}}

{{- /* its own namespace stands in every name that is the cluster's and not a namespace's */ -}}
{{- define "pointsman.clusterName" -}}{{ include "pointsman.webhook" . }}-{{ .Release.Namespace }}{{- end -}}

{{- define "pointsman.selector" -}}
app.kubernetes.io/name: pointsman
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "pointsman.labels" -}}
{{ include "pointsman.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "pointsman.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{- define "pointsman.tlsSecret" -}}
{{- if eq .Values.webhook.certificates.mode "provided" -}}
{{- required "webhook.certificates.secret: mode provided needs the Secret with tls.crt and tls.key" .Values.webhook.certificates.secret -}}
{{- else -}}
{{- include "pointsman.webhook" . }}-tls
{{- end -}}
{{- end -}}

{{- /* a pod of the restricted standard; its user is its own */ -}}
{{- define "pointsman.podSecurity" -}}
runAsNonRoot: true
{{- with .user }}
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
{{- end }}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "pointsman.security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}
