#!/usr/bin/env bash
# Makes the kind cluster of cluster.yaml where there is none, with Kubeflow Pipelines and bertline's manifests.
# KIND_VERSION is the one that was tried.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
name=$(sed -n 's/^name: *//p' "$here/cluster.yaml")

missing=()
for tool in docker git kind kubectl; do
  command -v "$tool" >/dev/null || missing+=("$tool")
done
if [ ${#missing[@]} -gt 0 ]; then
  echo "kind-up needs ${missing[*]} on PATH; docs.docker.com/engine, git-scm.com, kind.sigs.k8s.io, kubernetes.io/docs/tasks/tools" >&2
  exit 2
fi
if ! docker info >/dev/null 2>&1; then
  echo "docker is installed but doesn't answer: start it, or give this user access to it (\`docker info\` says more)" >&2
  exit 2
fi
found=$(kind version | awk '{print $2}')
if [ "$found" != "v$KIND_VERSION" ]; then
  echo "kind is $found; this was made for v$KIND_VERSION, whose release names the node image of kind/cluster.yaml" >&2
fi

if kind get clusters 2>/dev/null | grep -qx "$name"; then
  echo "cluster $name is there"
else
  kind create cluster --config "$here/cluster.yaml" --wait 5m
fi
"$here/../install.sh" "kind-$name" kind
cat <<END

Kubeflow Pipelines is at http://localhost:8080, its API at http://localhost:8888, the object store at http://localhost:9000.

  bertline images build && bertline images load     the images of all stages
  bertline doctor --profile kind                    is everything there?
  bertline submit pipelines/experiments/nano.yaml --profile kind --wait
  make kind-demo                                    all of that
END
