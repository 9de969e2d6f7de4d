{{- define "ordersaga.servers" -}}
order: 8081
stock: 8082
payment: 8083
delivery: 8084
web: 8086
audit: 8087
{{- end }}

{{- define "ordersaga.labels" -}}
app.kubernetes.io/name: ordersaga
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "ordersaga.metadata" -}}
name: {{ .root.Release.Name }}-{{ .component }}
labels:
  {{- include "ordersaga.labels" . | nindent 2 }}
  app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
  app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end }}

{{- define "ordersaga.image" -}}
image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
{{- end }}

{{- define "ordersaga.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001 # the group that may read the mounted secrets
  seccompProfile: { type: RuntimeDefault }
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{/* The settings that every process has. */}}
{{- define "ordersaga.environment" -}}
ORDERSAGA_KAFKA_BOOTSTRAP_SERVERS: {{ .Values.kafka.bootstrapServers | quote }}
ORDERSAGA_KAFKA_SECURITY_PROTOCOL: {{ .Values.kafka.securityProtocol | quote }}
{{- if hasPrefix "SASL_" .Values.kafka.securityProtocol }}
ORDERSAGA_KAFKA_SASL_MECHANISM: {{ .Values.kafka.saslMechanism | quote }}
ORDERSAGA_KAFKA_SASL_USERNAME_FILE: /run/secrets/ordersaga/kafka-username
ORDERSAGA_KAFKA_SASL_PASSWORD_FILE: /run/secrets/ordersaga/kafka-password
{{- end }}
{{- if and (eq .Values.kafka.securityProtocol "SSL") .Values.kafka.credentials.secret }}
ORDERSAGA_KAFKA_SSL_CERTIFICATE_LOCATION: /run/secrets/ordersaga/kafka-client.crt
ORDERSAGA_KAFKA_SSL_KEY_LOCATION: /run/secrets/ordersaga/kafka-client.key
{{- end }}
{{- if .Values.kafka.ca.secret }}
ORDERSAGA_KAFKA_SSL_CA_LOCATION: /run/secrets/ordersaga/kafka-ca.crt
{{- end }}
ORDERSAGA_TOPIC_PARTITIONS: {{ .Values.kafka.partitions | quote }}
ORDERSAGA_TOPIC_REPLICATION_FACTOR: {{ .Values.kafka.replicationFactor | quote }}
{{- with .Values.proxyAddresses }}
ORDERSAGA_HTTP_PROXY_ADDRESSES: {{ toJson . | quote }}
{{- end }}
{{- with .Values.foreignPartners }}
ORDERSAGA_FOREIGN_PARTNERS: {{ toJson . | quote }}
{{- end }}
{{- with .Values.settings }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Kafka's part of the volume of secrets. */}}
{{- define "ordersaga.kafkaSecrets" -}}
{{- if hasPrefix "SASL_" .root.Values.kafka.securityProtocol }}
- secret:
    name: {{ .credentials | default .root.Values.kafka.credentials.secret }}
    items:
      - { key: {{ .root.Values.kafka.credentials.usernameKey }}, path: kafka-username }
      - { key: {{ .root.Values.kafka.credentials.passwordKey }}, path: kafka-password }
{{- end }}
{{- if and (eq .root.Values.kafka.securityProtocol "SSL") .root.Values.kafka.credentials.secret }}
- secret:
    name: {{ .credentials | default .root.Values.kafka.credentials.secret }}
    items:
      - { key: {{ .root.Values.kafka.credentials.certificateKey }}, path: kafka-client.crt }
      - { key: {{ .root.Values.kafka.credentials.keyKey }}, path: kafka-client.key }
{{- end }}
{{- with .root.Values.kafka.ca }}
{{- if .secret }}
- secret:
    name: {{ .secret }}
    items:
      - { key: {{ .key }}, path: kafka-ca.crt }
{{- end }}
{{- end }}
{{- end }}

{{/* PostgreSQL's part of the environment, for the databases of these services, and of the volume of secrets. */}}
{{- define "ordersaga.databases" -}}
{{- range .services }}
ORDERSAGA_{{ upper . }}_DATABASE_URL_FILE: /run/secrets/ordersaga/{{ . }}
{{- end }}
{{- if and .services .root.Values.postgresql.ca.secret }}
PGSSLROOTCERT: /run/secrets/ordersaga/postgresql-ca.crt # for a URL without sslrootcert
{{- end }}
{{- end }}

{{- define "ordersaga.databaseSecrets" -}}
{{- if .services }}
- secret:
    name: {{ .secret }}
    items:
      {{- range .services }}
      - { key: {{ . }}, path: {{ . }} }
      {{- end }}
{{- with .root.Values.postgresql.ca }}
{{- if .secret }}
- secret:
    name: {{ .secret }}
    items:
      - { key: {{ .key }}, path: postgresql-ca.crt }
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "ordersaga.env" -}}
{{- range $name, $value := .own }}
- { name: {{ $name }}, value: {{ $value | toString | quote }} }
{{- end }}
{{- with .root.Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "ordersaga.volumeMounts" -}}
- { name: secrets, mountPath: /run/secrets/ordersaga, readOnly: true }
- { name: tmp, mountPath: /tmp }
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The ports of the URLs among settings that a process calls, as a list. A browser follows those of WEB_URL and WEB_CHECKOUT_URL, and nobody those of JWT_ISSUER. */}}
{{- define "ordersaga.urlPorts" -}}
{{- $found := list }}
{{- range $name, $value := omit . "ORDERSAGA_WEB_URL" "ORDERSAGA_WEB_CHECKOUT_URL" "ORDERSAGA_JWT_ISSUER" }}
{{- if regexMatch "^https?://" (toString $value) }}
{{- $url := urlParse $value }}
{{- $found = append $found (regexFind ":[0-9]+$" $url.host | trimPrefix ":" | default (ternary "443" "80" (eq $url.scheme "https"))) }}
{{- end }}
{{- end }}
{{- $found | uniq | sortAlpha | toJson }}
{{- end }}

{{/* The servers that are deployed, as a list. */}}
{{- define "ordersaga.deployed" -}}
{{- $found := list }}
{{- range $name, $_ := include "ordersaga.servers" . | fromYaml }}
{{- if and (index $.Values.services $name).enabled (not (has $name $.Values.foreignPartners)) }}
{{- $found = append $found $name }}
{{- end }}
{{- end }}
{{- toJson $found }}
{{- end }}
