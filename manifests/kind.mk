# A kind cluster with Kubeflow Pipelines on this machine. Included by the Makefile, which knows BIN and READY.
# Versions: KFP and SeaweedFS in kubeflow-pipelines/kustomization.yaml, Kubernetes in kind/cluster.yaml, kind here.
.PHONY: kind-up kind-gpu kind-demo kind-down

KIND_VERSION := 0.33.0
KIND_CLUSTER := bertline
FAKE_GPUS ?= 2

kind-up: $(READY) ## a kind cluster with Kubeflow Pipelines on this machine; again to update it
	@KIND_VERSION=$(KIND_VERSION) BERTLINE=$(BIN)/bertline manifests/kind/up.sh

kind-gpu: ## its node claims to have GPUs; again after its kubelet was restarted
	@manifests/kind/fake-gpus.sh kind-$(KIND_CLUSTER) $(FAKE_GPUS)

kind-demo: $(READY) ## the nano experiment on it, from the images to out/kind/report.html
	@$(BIN)/bertline images build
	@$(BIN)/bertline images load --into kind --cluster $(KIND_CLUSTER)
	@$(BIN)/bertline doctor --profile kind
	@$(BIN)/bertline submit pipelines/experiments/nano.yaml --profile kind --wait
	@$(BIN)/bertline pull pipelines/experiments/nano.yaml out/kind --profile kind

kind-down: ## delete the cluster, and the store that is in it
	@kind delete cluster --name $(KIND_CLUSTER)
