{{- define "tidegate.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "tidegate.fullname" -}}
{{- $name := include "tidegate.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "tidegate.selector" -}}
app.kubernetes.io/name: {{ include "tidegate.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "tidegate.labels" -}}
{{ include "tidegate.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "tidegate.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "tidegate.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- /* Values that would start, and then fail or lose data. */ -}}
{{- define "tidegate.check" -}}
{{- range $name := list "TIDEGATE_AUDIT_SINK_KEYS" "TIDEGATE_DATABASE_URL" "TIDEGATE_FILES_KEYS" "TIDEGATE_MASTER_KEY" "TIDEGATE_MASTER_KEY_FILE" -}}
{{- if hasKey $.Values.settings $name -}}
{{- fail (printf "settings.%s: a secret; name a Secret in database, masterKey or secretSettings" $name) -}}
{{- end -}}
{{- end -}}
{{- if gt (int .Values.replicas) 1 -}}
{{- if not .Values.database.existingSecret -}}
{{- fail "replicas: several gateways share PostgreSQL; set database.existingSecret" -}}
{{- end -}}
{{- if not .Values.masterKey.existingSecret -}}
{{- fail "replicas: several gateways have the same master key; set masterKey.existingSecret" -}}
{{- end -}}
{{- if .Values.persistence.existingClaim -}}
{{- fail "persistence.existingClaim: each of several gateways has its own volume" -}}
{{- end -}}
{{- end -}}
{{- if and (not .Values.persistence.enabled) (not (and .Values.masterKey.existingSecret .Values.database.existingSecret)) -}}
{{- fail "persistence.enabled: without a volume, set masterKey.existingSecret and database.existingSecret" -}}
{{- end -}}
{{- end -}}
