#!/usr/bin/env bash
# Makes a node claim GPUs, to see GPU scheduling work without one: pods ask for a GPU, find the node and compute on its CPU.
#   manifests/kind/fake-gpus.sh [CONTEXT [COUNT]]
# FAKE_GPU_TAINT=yes keeps other pods off that node, as on a GPU pool; it needs a second node for everything else.
# The kubelet sets its node's extended resources to zero when it starts: repeat this after the node was restarted.
set -euo pipefail

context=${1:-kind-bertline}
count=${2:-2}

k() { kubectl --context "$context" --request-timeout 1m "$@"; }
fail() {
  printf 'fake-gpus: %s\n' "$*" >&2
  exit 2
}

[[ $count =~ ^[0-9]+$ ]] || fail "the number of GPUs is a whole number, not $count"
nodes=$(k get nodes --output name) || fail "the cluster of context $context doesn't answer; \`make kind-up\` makes it"
node=$(tail -n 1 <<<"${nodes//node\//}") # by name: a worker comes after the control plane
if [ "${FAKE_GPU_TAINT:-}" = yes ] && [ "$(wc -l <<<"$nodes")" -lt 2 ]; then
  fail "$node is the only node: with a taint nothing else could run. Add a worker to kind/cluster.yaml"
fi

k label node "$node" bertline.dev/gpu=fake --overwrite
k patch node "$node" --subresource=status --type=merge \
  --patch "{\"status\": {\"capacity\": {\"nvidia.com/gpu\": \"$count\"}, \"allocatable\": {\"nvidia.com/gpu\": \"$count\"}}}"
if [ "${FAKE_GPU_TAINT:-}" = yes ]; then
  k taint node "$node" nvidia.com/gpu=present:NoSchedule --overwrite
fi
offered=$(k get node "$node" --output 'jsonpath={.status.allocatable.nvidia\.com/gpu}')
[ "$offered" = "$count" ] || fail "node $node offers ${offered:-no} GPUs, not $count; has its kubelet just started? Repeat this"
echo "node $node offers $count GPUs that aren't there; pods of --profile kind-gpu find them"
