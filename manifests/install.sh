#!/usr/bin/env bash
# Installs Kubeflow Pipelines and what bertline needs on a cluster of this machine, or brings both up to date: every step
# may be repeated.
#   manifests/install.sh CONTEXT kind|minikube
# BERTLINE is the command to call, `bertline` without it.
set -euo pipefail

context=${1:?the context of kubectl, such as kind-bertline}
place=${2:?kind or minikube}
bertline=${BERTLINE:-bertline}
manifests=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
namespace=kubeflow
upstream=github.com/kubeflow/pipelines/manifests/kustomize

k() { kubectl --context "$context" --request-timeout 2m "$@"; }
say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
fail() {
  printf 'install: %s\n' "$*" >&2
  exit 1
}

[ -f "$manifests/overlays/$place/kustomization.yaml" ] || fail "there is no overlays/$place; give kind or minikube"
version=$(sed -n 's/.*[?&]ref=\([0-9][0-9.]*\).*/\1/p' "$manifests/kubeflow-pipelines/kustomization.yaml")
[ -n "$version" ] || fail "kubeflow-pipelines/kustomization.yaml has no ?ref=VERSION"
k get --raw /readyz >/dev/null || fail "the cluster of context $context doesn't answer; is it started?"

say "Kubeflow Pipelines $version"
k apply -k "$upstream/cluster-scoped-resources?timeout=300&ref=$version"
k wait --for=condition=Established --timeout=60s crd/applications.app.k8s.io
k apply -k "$manifests/kubeflow-pipelines"

say "The image that makes the bucket"
"$bertline" images build --image corpus
"$bertline" images load --image corpus --into "$place"
image=$("$bertline" images ls --image corpus | cut -f1)
[ -n "$image" ] || fail "\`$bertline images ls --image corpus\` names no image"

say "bertline, overlays/$place"
k delete job bertline-bucket --namespace "$namespace" --ignore-not-found --timeout=60s # a job can't be changed
kubectl kustomize "$manifests/overlays/$place" | sed "s|bertline-corpus:set-by-install|$image|" | k apply -f -

say "Waiting for Kubeflow Pipelines: its images are pulled, some minutes the first time"
if ! kubectl --context "$context" wait deployment --all --namespace "$namespace" --for=condition=Available --timeout=20m; then
  k get pods --namespace "$namespace" >&2 || true
  fail "not everything is up after 20 minutes; \`kubectl --context $context -n $namespace describe pod NAME\` says why"
fi

say "Waiting for the bucket"
if ! kubectl --context "$context" wait job/bertline-bucket --namespace "$namespace" --for=condition=Complete --timeout=5m; then
  k logs job/bertline-bucket --namespace "$namespace" --tail=5 >&2 || true
  fail "the bucket wasn't made in 5 minutes; \`kubectl --context $context -n $namespace describe job bertline-bucket\`"
fi
