"""Applies a profile's settings to a KFP task.

All values are static text, because KFP doesn't resolve placeholders in images, labels, environment and resources
correctly (`lints` checks this).
"""

from typing import Any

from kfp import kubernetes
from kfp.dsl import PipelineTask

from bertline_pipelines import stages
from bertline_pipelines.compiling import labels
from bertline_pipelines.images import catalogue
from bertline_pipelines.places.profiles import Pod, Profile
from bertline_pipelines.planning.plans import Task

SCRATCH = "/tmp"
METRICS_PORT = 9109  # what manifests/components/monitoring scrapes: KFP's pods can't declare a port
SCRAPE_S = 15  # at most, for a scrape of an accuracy or a loss that isn't finite; scrapes come every 10 s
BACKOFF_S = 30
BACKOFF_FACTOR = 2.0


def place(made: PipelineTask, task: Task, experiment: str, profile: Profile) -> None:
    """Image, resources, node, volumes, environment, labels and retries of one task."""
    pod = profile.pods.of(task.stage)
    image = catalogue.reference(profile.images.registry, stages.of(task.stage).image, pod.variant)
    made.set_container_image(image)
    kubernetes.set_image_pull_policy(made, profile.images.pull_policy)
    if profile.images.pull_secrets:
        kubernetes.set_image_pull_secrets(made, list(profile.images.pull_secrets))
    # KFP sets everything else that Pod Security "restricted" requires; the images' user is 65532.
    kubernetes.set_security_context(made, run_as_non_root=True)
    _size(made, pod)
    _choose_node(made, pod)
    _mount(made, pod)
    for name, value in _environment(profile, pod, image, task.stage).items():
        made.set_env_variable(name, value)
    for secret in (*filter(None, [profile.store.secret]), *profile.secrets):
        # KFP expects key → variable, so a key for two variables needs two calls.
        for variable, key in secret.keys.items():
            kubernetes.use_secret_as_env(made, secret.name, {key: variable})
    kubernetes.use_field_path_as_env(made, "BERTLINE_NODE", "spec.nodeName")
    for name, value in labels.labels(task, experiment).items():
        kubernetes.add_pod_label(made, name, value)
    if pod.retries:
        made.set_retry(pod.retries, backoff_duration=f"{BACKOFF_S}s", backoff_factor=BACKOFF_FACTOR)
    if pod.timeout_hours:
        kubernetes.set_timeout(made, round(pod.timeout_hours * 3600))


def _size(made: PipelineTask, pod: Pod) -> None:
    made.set_cpu_request(pod.cpu).set_cpu_limit(pod.cpu)
    made.set_memory_request(pod.memory).set_memory_limit(pod.memory)
    if pod.gpu:
        made.set_accelerator_type(pod.gpu.resource).set_accelerator_limit(pod.gpu.count)


def _choose_node(made: PipelineTask, pod: Pod) -> None:
    for name, value in pod.node_selector.items():
        kubernetes.add_node_selector(made, name, value)
    for toleration in pod.tolerations:
        kubernetes.add_toleration(made, **toleration.model_dump())


def _mount(made: PipelineTask, pod: Pod) -> None:
    if pod.storage_class:
        kubernetes.add_ephemeral_volume(
            made, "scratch", SCRATCH, ["ReadWriteOnce"], pod.scratch, storage_class_name=pod.storage_class
        )
    else:
        kubernetes.empty_dir_mount(made, "scratch", SCRATCH, size_limit=pod.scratch)
    if pod.shared_memory:
        kubernetes.empty_dir_mount(made, "shared-memory", "/dev/shm", medium="Memory", size_limit=pod.shared_memory)


def _environment(profile: Profile, pod: Pod, image: str, stage: str) -> dict[str, str]:
    ours: dict[str, Any] = {
        "BERTLINE_IMAGE": image,
        "BERTLINE_THREADS": str(pod.threads),
        "BERTLINE_WORKERS": str(pod.threads),
        "TMPDIR": SCRATCH,
    }
    if stages.of(stage).serves_metrics:
        ours |= {"BERTLINE_METRICS_ADDRESS": f"0.0.0.0:{METRICS_PORT}", "BERTLINE_METRICS_LINGER_S": str(SCRAPE_S)}
    if profile.store.endpoint:
        ours[profile.store.endpoint_variable] = profile.store.endpoint
    if pod.gpu and not pod.gpu.fake:
        # Without this TensorFlow takes the whole memory at once, and its real need can't be measured.
        ours["TF_FORCE_GPU_ALLOW_GROWTH"] = "true"
    return ours | profile.environment
