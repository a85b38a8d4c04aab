"""Profiles: where an experiment runs. Images, pods by stage, GPUs, the store, Kubeflow's address. Never part of a key.

A profile is a YAML file; `pipelines/profiles/` has those that come with bertline, and `--profile` takes a name or a
path. It is resolved when the pipeline is compiled: nothing of it is a parameter of the run. Some values belong to a
place rather than to a kind of place, so the environment may give them:

    BERTLINE_STORE, BERTLINE_REGISTRY, BERTLINE_KFP_ENDPOINT, BERTLINE_NAMESPACE

No secret is ever in a profile: pods get them from Kubernetes secrets that it names, the CLI from its own environment.
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
INSTALLED = Path(__file__).parents[1] / "profiles"  # in a wheel they lie inside the package

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
"""For a plan or a dry run, where neither profile nor environment has a value yet."""

Cores = Annotated[str, StringConstraints(pattern=r"^([1-9][0-9]*(\.[0-9]+)?|0\.[0-9]*[1-9][0-9]*|[1-9][0-9]*m)$")]
Bytes = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]*([MGTPE]i?|Ki|[0-9]{6})$")]
NodeLabels = dict[str, Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$")]]
SecretName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")]


class Section(BaseModel):
    """A part of a profile: frozen, nothing unknown in it, no number where Kubernetes wants text."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)


class Kubeflow(Section):
    """Where runs are submitted to."""

    endpoint: str = Field(pattern=r"^https?://")
    """Of the KFP API, as this machine reaches it. A token, where one is needed, comes from KFP_TOKEN."""
    ui: str | None = Field(None, pattern=r"^https?://")
    """Of the web page, for links; `endpoint` where None."""
    namespace: str = Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")
    """Where pods run."""
    service_account: str = "bertline"
    """Of the pods: what they may do in the cluster and, with workload identity, in the bucket."""
    context: str | None = None
    """kubectl's context; the current one where None."""


class Secret(Section):
    """A Kubernetes secret whose values become environment variables of the pods."""

    name: SecretName
    keys: dict[str, str] = Field(min_length=1)
    """Variable → key in the secret."""


class StoreAccess(Section):
    """The store as pods and as this machine reach it."""

    uri: str = Field(pattern=r"^((gs|s3)://[^/]+|file:///|[^:]+$)")
    """Root of the store, the same one from everywhere; a directory only for this machine."""
    endpoint: str | None = Field(None, pattern=r"^https?://")
    """Of an S3 server or GCS emulator inside the cluster; the cloud's own where None."""
    endpoint_here: str | None = Field(None, pattern=r"^https?://")
    """The same server as this machine reaches it."""
    secret: Secret | None = None
    """Credentials; None where the service account has them (workload identity)."""

    @property
    def endpoint_variable(self) -> str:
        """The environment variable by which the store's client learns of another endpoint."""
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
    """The name by which the device plugin offers them. Their model is a matter of the node selector."""
    count: int = Field(1, ge=1)
    fake: bool = False
    """True where the cluster only pretends to have it (`make kind-gpu`): scheduled as a GPU, computed on the CPU."""
    price_per_hour: float | None = Field(None, ge=0, strict=False)
    """Of one GPU with its node, for `bertline plan`."""
    currency: str = Field("USD", pattern="^[A-Z]{3}$")
    """Of the price, as three letters."""


class Toleration(Section):
    """Of a taint, as Kubernetes writes it."""

    key: str
    operator: Literal["Equal", "Exists"] = "Equal"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None


class Pod(Section):
    """What a stage's pods ask for."""

    cpu: Cores
    """Cores, request and limit: threads are fixed by it, so that a result doesn't depend on the node."""
    memory: Bytes
    """Request and limit."""
    scratch: Bytes
    """Size of /tmp: where dumps, shards and checkpoints are staged. The root filesystem may be read-only."""
    storage_class: str | None = None
    """Of /tmp's own volume, claimed with the pod; None takes the node's disk."""
    shared_memory: Bytes | None = None
    """Size of /dev/shm, counted as memory; the container runtime's 64 MB where None."""
    gpu: Gpu | None = None
    variant: Literal["cpu", "cuda"] = "cpu"
    """Of the image, where it has several."""
    node_selector: NodeLabels = {}
    tolerations: tuple[Toleration, ...] = Field((), strict=False)
    retries: int = Field(3, ge=0)
    """How often KFP starts a failed pod again. What is done isn't lost; an attempt goes on from the last checkpoint."""
    timeout_hours: float | None = Field(None, gt=0, strict=False)
    """From a pod's start; waiting for a node doesn't count."""

    @property
    def threads(self) -> int:
        """Whole cores of the limit."""
        cores = float(self.cpu.removesuffix("m")) / (1000 if self.cpu.endswith("m") else 1)
        return max(1, math.ceil(cores))

    @model_validator(mode="after")
    def _gpu_has_a_model(self) -> Self:
        if self.gpu and not self.node_selector:
            raise ValueError(
                "gpu needs node_selector (GKE: cloud.google.com/gke-accelerator): without one pods land on any GPU "
                "model, and wall-clocks of different models would share one curve"
            )
        if self.gpu and (self.variant == "cuda") == self.gpu.fake:
            raise ValueError("a gpu goes with `variant: cuda`, and a fake one with `variant: cpu`")
        return self


class _Pods(Section):
    """Pods by stage, by the package of those in `stages`."""

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, value: Any) -> Any:
        """`default` fills what a stage doesn't say."""
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
        """The pod of a stage; parts of the corpus have the corpus'."""
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
    """None: not for `bertline submit`."""
    store: StoreAccess
    images: Images
    corpus_pods: int = Field(1, ge=1)
    """Pods that share each of the corpus' two passes. The bytes are the same for any number."""
    environment: dict[str, str] = {}
    """For all pods. Not for secrets: they would be in the compiled pipeline."""
    secrets: tuple[Secret, ...] = Field((), strict=False)
    """More environment variables, from secrets."""
    pods: Pods

    @model_validator(mode="after")
    def _pods_share_a_store(self) -> Self:
        if self.kubeflow and not self.store.uri.startswith(("gs://", "s3://")):
            raise ValueError(
                f"store.uri is {self.store.uri}, a disk that pods don't share: what they make would be gone with them; "
                "give gs://bucket/prefix or s3://bucket/prefix"
            )
        return self

    @property
    def unknown(self) -> tuple[str, ...]:
        """What `STAND_INS` stand in for: variables of the environment that would give the values."""
        return tuple(
            variable
            for variable, value in STAND_INS.items()
            for section, field in [OVERRIDES[variable]]
            if getattr(getattr(self, section), field) == value
        )


def names() -> list[str]:
    """Of the profiles that come with bertline."""
    return sorted(path.stem for path in _shipped().glob("*.yaml"))


def text(name: str) -> str:
    """A shipped profile's file, to start one's own from."""
    if name not in names():
        raise UserError(f"there is no profile {name!r}; there are {', '.join(names())}")
    return (_shipped() / f"{name}.yaml").read_text(encoding="utf-8")


def load(name: str, environment: Mapping[str, str], *, may_be_unknown: bool = False) -> Profile:
    """Read a profile by name or path, with what the environment overrides.

    Args:
        name: Or path.
        environment: Of this process.
        may_be_unknown: Bucket and registry needn't be known: `STAND_INS` fill their places.

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
    """Where a pod's field stands: what a stage doesn't say, `default` does."""
    match location:
        case ("pods", stage, *rest) if ("pods", "default") in document.parts and rest:
            default = ("pods", "default", *rest)
            is_own = ("pods", stage, rest[0]) in document.parts
            is_default = default[:3] in document.parts or ("pods", stage) not in document.parts
            return default if is_default and not is_own else location
    return location


def _refuse_secrets(name: str, document: Any, *place: str) -> None:
    """All of a profile may be in compiled pipelines, records and logs."""
    if isinstance(document, dict | list):
        pairs = document.items() if isinstance(document, dict) else enumerate(document)
        for key, value in pairs:
            _refuse_secrets(name, value, *place, str(key))
    elif isinstance(document, str) and redacted(document) != document:
        raise UserError(
            f"profile {name}: there is a password, signature or token in {'.'.join(place)}, and it would be in "
            "compiled pipelines and logs. Name a Kubernetes secret under `secrets`, which pods get as environment "
            "variables; the commands here take credentials from the environment (KFP_TOKEN, AWS_*)"
        )


def _shipped() -> Path:
    return INSTALLED if INSTALLED.is_dir() else SHIPPED
