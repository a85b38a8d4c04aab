"""The overlays as kustomize renders them: valid, in their namespace, with no more rights than written here."""

import re

import kubernetes_validate
import pytest
import yaml

from bertline_pipelines.cluster import reader
from bertline_pipelines.places import profiles
from support import pod_security

OVERLAYS = ("gke", "kind", "minikube")

# All that anybody may do: role → {(group, resource, its name)} → verbs.
RIGHTS = {
    "bertline": {
        ("argoproj.io", "workflowtaskresults", None): {"create", "patch"},
        ("", "configmaps", "kfp-launcher"): {"get"},
        ("", "secrets", "mlpipeline-minio-artifact"): {"get"},
    },
    "bertline-viewer": {
        ("", "pods", None): {"get", "list", "watch"},
        ("", "pods/log", None): {"get"},
        ("", "events", None): {"get", "list", "watch"},
        ("", "resourcequotas", None): {"get", "list", "watch"},
        ("", "serviceaccounts", "bertline"): {"get"},
        ("argoproj.io", "workflows", None): {"get", "list", "watch"},
    },
}


@pytest.fixture(params=OVERLAYS)
def documents(request, render, manifests):
    return render(manifests / "overlays" / request.param)


def of_kind(documents, *kinds):
    return [document for document in documents if document["kind"] in kinds]


def rights(role):
    return {
        (group, resource, name): set(rule["verbs"])
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", [None])
    }


def pod_specs(documents):
    templates = [document["spec"]["template"] for document in documents if "template" in document.get("spec", {})]
    return [template["spec"] for template in templates]


def images(documents):
    return [container["image"] for spec in pod_specs(documents) for container in spec["containers"]]


def cluster_config(manifests):
    return yaml.safe_load((manifests / "kind/cluster.yaml").read_text())


def test_the_table_of_overlays_is_complete(manifests):
    assert sorted(folder.name for folder in (manifests / "overlays").iterdir()) == sorted(OVERLAYS)


def test_every_document_is_valid_for_the_kubernetes_of_the_kind_node(documents, manifests):
    version = re.search(r":v(\d+\.\d+)\.", cluster_config(manifests)["nodes"][0]["image"])[1]
    for document in documents:
        kubernetes_validate.validate(document, version, strict=True)


def test_the_validation_would_see_a_wrong_field(documents):
    wrong = documents[0] | {"metadta": {}}
    with pytest.raises(kubernetes_validate.ValidationError, match="metadta"):
        kubernetes_validate.validate(wrong, "1.34", strict=True)


def test_an_overlay_puts_everything_into_its_namespace_and_labels_accounts_and_roles(documents):
    for document in documents:
        assert document["metadata"]["namespace"] == "kubeflow", document["metadata"]["name"]
    for document in of_kind(documents, "ServiceAccount", "Role", "RoleBinding"):
        assert document["metadata"]["labels"]["app.kubernetes.io/part-of"] == "bertline"


def test_only_overlays_say_namespaces_and_tags(manifests):
    files = [path for folder in ("base", "components") for path in (manifests / folder).rglob("*.yaml")]
    assert len(files) > 8
    for path in files:
        for document in yaml.safe_load_all(path.read_text()):
            assert not {"namespace", "images"} & document.keys(), path
            assert "namespace" not in document.get("metadata", {}), path
            assert [image for image in images([document]) if ":" in image] == [], path


def test_no_image_is_latest(documents, manifests):
    tags = [image.partition(":")[2] for image in images(documents)]
    pinned = yaml.safe_load((manifests / "kubeflow-pipelines/kustomization.yaml").read_text())["images"]
    tags += [image["newTag"] for image in pinned]
    tags += [node["image"].partition(":")[2] for node in cluster_config(manifests)["nodes"]]
    assert tags
    assert not {"", "latest"} & set(tags)


def test_everybody_may_do_exactly_what_is_written_here(documents):
    assert {role["metadata"]["name"]: rights(role) for role in of_kind(documents, "Role")} == RIGHTS
    assert "*" not in yaml.safe_dump(of_kind(documents, "Role"))


def test_nothing_reaches_beyond_the_namespace(documents):
    kinds = {document["kind"] for document in documents}
    assert not {kind for kind in kinds if kind.startswith("Cluster") or kind == "Namespace"}


def test_the_role_is_bound_to_the_account_that_profiles_name_and_to_nobody_else(documents):
    [account] = of_kind(documents, "ServiceAccount")
    [binding] = of_kind(documents, "RoleBinding")
    profile = profiles.load("kind", {})
    assert profile.kubeflow is not None
    assert account["metadata"]["name"] == profile.kubeflow.service_account
    assert account.get("automountServiceAccountToken", True)  # driver, launcher and executor need it
    assert binding["roleRef"] == {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "bertline"}
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "bertline", "namespace": "kubeflow"}]


def test_a_viewer_may_do_what_status_and_logs_ask_for(documents):
    granted = RIGHTS["bertline-viewer"]
    asked = [each for each in (*reader.NEEDED, *reader.USEFUL) if each.namespaced]
    assert asked
    for permission in asked:
        assert permission.verb in granted[permission.group, permission.resource, None], permission


def test_our_pods_are_restricted(render, manifests):
    specs = [spec for overlay in OVERLAYS for spec in pod_specs(render(manifests / "overlays" / overlay))]
    assert specs
    for spec in specs:
        assert pod_security.violations(spec) == []
        pod = spec["securityContext"]
        assert (pod["runAsUser"], pod["runAsGroup"], pod["runAsNonRoot"]) == (65532, 65532, True)
        assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False  # ours don't talk to the API
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        assert not [volume for volume in spec["volumes"] if "hostPath" in volume]
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["requests"].keys() == container["resources"]["limits"].keys()
            assert {"cpu", "memory", "ephemeral-storage"} <= container["resources"]["limits"].keys()


def test_credentials_are_references_to_secrets(documents):
    assert of_kind(documents, "Secret") == []
    variables = [each for spec in pod_specs(documents) for each in spec["containers"][0]["env"]]
    values = {each["name"] for each in variables if "value" in each}
    assert not {name for name in values if "KEY" in name or "SECRET" in name}


def test_kinds_ports_lead_to_where_the_profile_looks(render, manifests):
    services = of_kind(render(manifests / "overlays/kind"), "Service")
    node_ports = {port["nodePort"]: (service["spec"]["selector"]["app"], port["targetPort"])
                  for service in services for port in service["spec"]["ports"]}  # fmt: skip
    mapped = cluster_config(manifests)["nodes"][0]["extraPortMappings"]
    assert {port["containerPort"] for port in mapped} == node_ports.keys()
    assert {port["listenAddress"] for port in mapped} == {"127.0.0.1"}
    here = {node_ports[port["containerPort"]]: f"http://localhost:{port['hostPort']}" for port in mapped}
    profile = profiles.load("kind", {})
    assert profile.kubeflow is not None
    assert here == {
        ("ml-pipeline", 8888): profile.kubeflow.endpoint,
        ("ml-pipeline-ui", 3000): profile.kubeflow.ui,
        ("seaweedfs", 8333): profile.store.endpoint_here,
    }
    assert profile.kubeflow.context == f"kind-{cluster_config(manifests)['name']}"


def test_kinds_policies_open_what_the_ports_lead_to_and_close_nothing(render, manifests):
    documents = render(manifests / "overlays/kind")
    policies = {policy["metadata"]["name"]: policy["spec"] for policy in of_kind(documents, "NetworkPolicy")}
    # A policy closes all that it doesn't name, so where KFP may have none, ours names everything.
    assert policies["bertline-kfp"]["ingress"] == [{}]
    [selected] = policies["bertline-kfp"]["podSelector"]["matchExpressions"]
    assert policies["bertline-s3"]["podSelector"] == {"matchLabels": {"app": "seaweedfs"}}
    assert policies["bertline-s3"]["ingress"] == [{"ports": [{"protocol": "TCP", "port": 8333}]}]
    assert {policy["policyTypes"][0] for policy in policies.values()} == {"Ingress"}
    apps = {service["spec"]["selector"]["app"] for service in of_kind(documents, "Service")}
    assert apps == {*selected["values"], "seaweedfs"}


@pytest.mark.parametrize("overlay", ["kind", "minikube"])
def test_the_bucket_is_the_profiles(overlay, render, manifests):
    documents = render(manifests / "overlays" / overlay)
    [job] = of_kind(documents, "Job")
    [container] = job["spec"]["template"]["spec"]["containers"]
    variables = {each["name"]: each for each in container["env"]}
    profile = profiles.load(overlay, {})
    assert profile.store.secret is not None
    assert f"s3://{container['command'][-1]}/" in f"{profile.store.uri}/"
    for name, key in profile.store.secret.keys.items():
        assert variables[name]["valueFrom"] == {"secretKeyRef": {"name": profile.store.secret.name, "key": key}}
    assert profile.store.endpoint == variables["AWS_ENDPOINT_URL"]["value"].replace("seaweedfs", "seaweedfs.kubeflow")
    assert job["spec"]["activeDeadlineSeconds"] <= 600
    # The script is the one that is tested beside this, under a name that follows from its content.
    [config] = of_kind(documents, "ConfigMap")
    [volume] = job["spec"]["template"]["spec"]["volumes"]
    assert volume["configMap"]["name"] == config["metadata"]["name"] != "bertline-bucket"
    assert config["data"]["create_bucket.py"] == (manifests / "components/s3-seaweedfs/create_bucket.py").read_text()


def test_on_gke_the_account_is_a_google_account_and_nothing_makes_an_s3_bucket(render, manifests):
    documents = render(manifests / "overlays/gke")
    [account] = of_kind(documents, "ServiceAccount")
    assert account["metadata"]["annotations"] == {
        "iam.gke.io/gcp-service-account": "bertline@my-project.iam.gserviceaccount.com"
    }
    assert {document["kind"] for document in documents} == {"ServiceAccount", "Role", "RoleBinding"}


def test_the_fake_gpus_are_those_of_the_profile(manifests):
    pod = profiles.load("kind-gpu", {}).pods.pretrain
    assert pod.gpu is not None
    script = (manifests / "kind/fake-gpus.sh").read_text()
    for label, value in pod.node_selector.items():
        assert f"{label}={value}" in script
    assert f'\\"{pod.gpu.resource}\\": \\"$count\\"' in script
    assert {f"{toleration.key}=present:{toleration.effect}" for toleration in pod.tolerations} == set(
        re.findall(r"\S+=present:\w+", script)
    )
