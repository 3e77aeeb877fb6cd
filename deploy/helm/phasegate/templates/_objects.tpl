{{/* The objects are those of deploy/kubernetes, copied into files/: read, changed and written. */}}

{{/* Labels of the release on `object`. */}}
{{- define "phasegate.label" -}}
{{- $labels := dict
  "app.kubernetes.io/part-of" "phasegate"
  "app.kubernetes.io/instance" .root.Release.Name
  "app.kubernetes.io/version" .root.Chart.AppVersion
  "app.kubernetes.io/managed-by" .root.Release.Service
  "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version) -}}
{{- $_ := set .object.metadata "labels" (merge (default dict .object.metadata.labels) (default dict .labels) $labels) -}}
{{- end }}

{{/* The image, the resources and the secret of `workload` in a pod's `template`; `pod` over it. */}}
{{- define "phasegate.fill" -}}
{{- $pod := .template.spec -}}
{{- $container := index $pod.containers 0 -}}
{{- $image := .root.Values.image -}}
{{- $_ := set $container "image" (printf "%s:%s" $image.repository (default .root.Chart.AppVersion $image.tag)) -}}
{{- $_ := set $container "imagePullPolicy" $image.pullPolicy -}}
{{- with .workload.resources }}{{ $_ := set $container "resources" . }}{{ end -}}
{{- range $pod.volumes }}{{ if .secret }}{{ $_ := set .secret "secretName" $.workload.secret }}{{ end }}{{ end -}}
{{- $_ := mergeOverwrite $pod (deepCopy .root.Values.pod) -}}
{{- /* A pod reads its configuration when it starts. */ -}}
{{- $annotations := default dict .template.metadata.annotations -}}
{{- $_ := set $annotations "checksum/config" (sha256sum .root.Values.config) -}}
{{- $_ := set .template.metadata "annotations" $annotations -}}
{{- end }}
