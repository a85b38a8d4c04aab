"""Profiles: where an experiment runs. Images, pods by stage, GPUs, the store, Kubeflow's address. Never part of a key.

A profile is a YAML file; `pipelines/profiles/` has those that come with bertline, and `--profile` takes a name or a
path. It is resolved when the pipeline is compiled, so a run has no parameters from it. The environment can override
values that differ from cluster to cluster:

    BERTLINE_STORE, BERTLINE_REGISTRY, BERTLINE_KFP_ENDPOINT, BERTLINE_NAMESPACE

A profile never contains a secret: pods read the Kubernetes secrets that it names, the CLI reads its environment.
"""

import functools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, create_model, model_validator

from bertline.addresses import redacted
from bertline.configuration import mistakes, yamlfiles
from bertline.errors import UserError
from bertline_pipelines import stages

SHIPPED = Path(__file__).parents[2] / "profiles"
INSTALLED = Path(__file__).parents[1] / "profiles"  # inside the package, in a wheel

OVERRIDES = {
    "BERTLINE_STORE": ("store", "uri"),
    "BERTLINE_REGISTRY": ("images", "registry"),
    "BERTLINE_KFP_ENDPOINT": ("kubeflow", "endpoint"),
    "BERTLINE_NAMESPACE": ("kubeflow", "namespace"),
}

STAND_INS = {
    "BERTLINE_STORE": "gs://your-bucket/bertline",
    "BERTLINE_REGISTRY": "your-registry.example/bertline",
}
"""Values for a plan or a dry run if neither profile nor environment has them."""

Cores = Annotated[str, StringConstraints(pattern=r"^([1-9][0-9]*(\.[0-9]+)?|0\.[0-9]*[1-9][0-9]*|[1-9][0-9]*m)$")]
Bytes = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]*([MGTPE]i?|Ki|[0-9]{6})$")]
NodeLabels = dict[str, Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$")]]
SecretName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")]


class Section(BaseModel):
    """A part of a profile: frozen, without unknown keys, without numbers in place of text."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)


class Kubeflow(Section):
    """The Kubeflow that runs are submitted to."""

    endpoint: str = Field(pattern=r"^https?://")
    """Address of the KFP API for this machine. If it needs a token, that comes from KFP_TOKEN."""
    ui: str | None = Field(None, pattern=r"^https?://")
    """Address of the web page, for links; None means `endpoint`."""
    namespace: str = Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")
    """The namespace of the pods."""
    service_account: str = "bertline"
    """The pods' account: its permissions in the cluster and, with workload identity, in the bucket."""
    context: str | None = None
    """kubectl's context; None means the current one."""


class Secret(Section):
    """A Kubernetes secret whose values become environment variables of the pods."""

    name: SecretName
    keys: dict[str, str] = Field(min_length=1)
    """Variable → key in the secret."""


class StoreAccess(Section):
    """The store's addresses and credentials."""

    uri: str = Field(pattern=r"^((gs|s3)://[^/]+|file:///|[^:]+$)")
    """Root of the store, the same for pods and this machine; a directory only without Kubeflow."""
    endpoint: str | None = Field(None, pattern=r"^https?://")
    """Address of an S3 server or GCS emulator inside the cluster; None means the cloud's own."""
    endpoint_here: str | None = Field(None, pattern=r"^https?://")
    """Address of the same server for this machine."""
    secret: Secret | None = None
    """Credentials; None if the service account has them (workload identity)."""

    @property
    def endpoint_variable(self) -> str:
        """The environment variable from which the store's client reads the endpoint."""
        return "STORAGE_EMULATOR_HOST" if self.uri.startswith("gs://") else "AWS_ENDPOINT_URL"


class Images(Section):
    """Where images are pulled from. Their tags follow from their content."""

    registry: str = Field(pattern=r"^[^\s:]*(:\d+[^\s:]*)?$")
    """`europe-docker.pkg.dev/my-project/bertline`; empty for images that were loaded into the nodes."""
    pull_policy: Literal["IfNotPresent", "Always", "Never"] = "IfNotPresent"
    pull_secrets: tuple[SecretName, ...] = Field((), strict=False)


class Gpu(Section):
    """GPUs of a pod."""

    resource: str = "nvidia.com/gpu"
    """The device plugin's resource name. The node selector chooses the model."""
    count: int = Field(1, ge=1)
    fake: bool = False
    """True for the fake GPUs of `make kind-gpu`: pods are scheduled as with a GPU, but compute on the CPU."""
    price_per_hour: float | None = Field(None, ge=0, strict=False)
    """Price of one GPU with its node for an hour, for `bertline plan`."""
    currency: str = Field("USD", pattern="^[A-Z]{3}$")
    """Currency of the price, three letters."""


class Toleration(Section):
    """A toleration, as in Kubernetes."""

    key: str
    operator: Literal["Equal", "Exists"] = "Equal"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None


class Pod(Section):
    """Settings of a stage's pods."""

    cpu: Cores
    """Cores, as request and limit. They set the number of threads, so that a result doesn't depend on the node."""
    memory: Bytes
    """Memory, as request and limit."""
    scratch: Bytes
    """Size of /tmp, where dumps, shards and checkpoints are staged. The root filesystem may be read-only."""
    storage_class: str | None = None
    """Storage class of a volume for /tmp, created with the pod; None means the node's disk."""
    shared_memory: Bytes | None = None
    """Size of /dev/shm, which counts as memory; None means the container runtime's 64 MB."""
    gpu: Gpu | None = None
    variant: Literal["cpu", "cuda"] = "cpu"
    """Variant of the image, if it has several."""
    node_selector: NodeLabels = {}
    tolerations: tuple[Toleration, ...] = Field((), strict=False)
    retries: int = Field(3, ge=0)
    """KFP restarts a failed pod at most so often. A new attempt continues from the last checkpoint."""
    timeout_hours: float | None = Field(None, gt=0, strict=False)
    """Hours from a pod's start; waiting for a node doesn't count."""

    @property
    def threads(self) -> int:
        """Whole cores of the limit."""
        cores = float(self.cpu.removesuffix("m")) / (1000 if self.cpu.endswith("m") else 1)
        return max(1, math.ceil(cores))

    @model_validator(mode="after")
    def _gpu_has_a_model(self) -> Self:
        if self.gpu and not self.node_selector:
            raise ValueError(
                "gpu needs node_selector (GKE: cloud.google.com/gke-accelerator): without it pods get any GPU "
                "model, and one curve would mix wall-clocks of several models"
            )
        if self.gpu and (self.variant == "cuda") == self.gpu.fake:
            raise ValueError("a gpu needs `variant: cuda`, a fake gpu `variant: cpu`")
        return self


class _Pods(Section):
    """Pod settings by stage; names are the packages in `stages`."""

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, value: Any) -> Any:
        """Fill in the values of `default` for fields that a stage doesn't set."""
        if not isinstance(value, dict) or "default" not in value:
            return value
        default = value["default"]
        if not isinstance(default, dict):
            mistakes.refuse(
                [(("default",), f"expected a section with keys of its own, found {mistakes.shown(default)}")]
            )
        own = {stage: value.get(stage) or {} for stage in stages.PACKAGES}
        filled = {stage: default | each if isinstance(each, dict) else each for stage, each in own.items()}
        return {name: pod for name, pod in value.items() if name != "default"} | filled

    def of(self, stage: str) -> Pod:
        """The pod of a stage; parts of the corpus use the pod of the corpus."""
        pod: Pod = getattr(self, stages.of(stage).package)
        return pod


if TYPE_CHECKING:
    Pods = _Pods
else:
    Pods = create_model("Pods", __base__=_Pods, **dict.fromkeys(stages.PACKAGES, (Pod, ...)))


class Profile(Section):
    """The whole file."""

    name: str
    description: str = ""
    kubeflow: Kubeflow | None = None
    """None means that `bertline submit` can't use this profile."""
    store: StoreAccess
    images: Images
    corpus_pods: int = Field(1, ge=1)
    """Number of pods that share each of the corpus' two passes. It doesn't change the bytes."""
    environment: dict[str, str] = {}
    """Environment variables of all pods. Not for secrets: they would be readable in the compiled pipeline."""
    secrets: tuple[Secret, ...] = Field((), strict=False)
    """Secrets that become more environment variables."""
    pods: Pods

    @model_validator(mode="after")
    def _pods_share_a_store(self) -> Self:
        if self.kubeflow and not self.store.uri.startswith(("gs://", "s3://")):
            raise ValueError(
                f"store.uri is {self.store.uri}, a directory that pods don't share: their results would be lost; "
                "give gs://bucket/prefix or s3://bucket/prefix"
            )
        return self

    @property
    def unknown(self) -> tuple[str, ...]:
        """Environment variables whose values aren't known; `STAND_INS` replace them."""
        return tuple(
            variable
            for variable, value in STAND_INS.items()
            for section, field in [OVERRIDES[variable]]
            if getattr(getattr(self, section), field) == value
        )


def names() -> list[str]:
    """Names of the profiles that come with bertline."""
    return sorted(path.stem for path in _shipped().glob("*.yaml"))


def text(name: str) -> str:
    """The text of a shipped profile."""
    if name not in names():
        raise UserError(f"there is no profile {name!r}; there are {', '.join(names())}")
    return (_shipped() / f"{name}.yaml").read_text(encoding="utf-8")


def load(name: str, environment: Mapping[str, str], *, may_be_unknown: bool = False) -> Profile:
    """Read a profile by name or path; the environment overrides some values.

    Args:
        name: Name or path.
        environment: Environment of this process.
        may_be_unknown: If bucket or registry aren't known, use `STAND_INS`.

    Raises:
        UserError: no such profile, not YAML, or not valid; a line for each thing that is wrong.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) or "/" in name else _shipped() / f"{name}.yaml"
    try:
        document = yamlfiles.read(path)
    except FileNotFoundError as error:
        raise UserError(
            f"there is no profile {name!r}; give one of {', '.join(names())}, or the path of your own: "
            "`bertline init my-profile.yaml --profile gke-l4` writes one to start from"
        ) from error
    notes: dict[mistakes.Location, str] = {}
    for variable, (section, field) in OVERRIDES.items():
        notes[section, field] = f"set it in your own profile or by {variable}"
        values = document.values.get(section)
        if not isinstance(values, dict):
            continue
        if variable in environment:
            values[field] = environment[variable]
        elif may_be_unknown and variable in STAND_INS and values.get(field) is None:
            values[field] = STAND_INS[variable]
    _refuse_secrets(name, document.values)
    return document.validated(Profile, notes=notes, moved=functools.partial(_from_default, document))


def _from_default(document: yamlfiles.Document, location: mistakes.Location) -> mistakes.Location:
    """Where a pod's field is in the file: in the stage's section or in `default`."""
    match location:
        case ("pods", stage, *rest) if ("pods", "default") in document.parts and rest:
            default = ("pods", "default", *rest)
            is_own = ("pods", stage, rest[0]) in document.parts
            is_default = default[:3] in document.parts or ("pods", stage) not in document.parts
            return default if is_default and not is_own else location
    return location


def _refuse_secrets(name: str, document: Any, *place: str) -> None:
    """Refuse secrets in a profile, because its values are in compiled pipelines, records and logs."""
    if isinstance(document, dict | list):
        pairs = document.items() if isinstance(document, dict) else enumerate(document)
        for key, value in pairs:
            _refuse_secrets(name, value, *place, str(key))
    elif isinstance(document, str) and redacted(document) != document:
        raise UserError(
            f"profile {name}: there is a password, signature or token in {'.'.join(place)}, and it would be in "
            "compiled pipelines and logs. Name a Kubernetes secret under `secrets`, which pods get as environment "
            "variables; commands on this machine take credentials from the environment (KFP_TOKEN, AWS_*)"
        )


def _shipped() -> Path:
    return INSTALLED if INSTALLED.is_dir() else SHIPPED
