"""Checks that the images of a profile exist, in its registry or on the nodes. For `bertline doctor`.

A registry is asked with the API that nodes use (OCI distribution), but without credentials. If it requires credentials,
the result is `unknown`.
"""

from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.utils import parse_dict_header

from bertline import retries
from bertline.addresses import is_here
from bertline.errors import TransientError
from bertline_pipelines.cluster.nodes import Node
from bertline_pipelines.cluster.scheduling import CONTROL_PLANE
from bertline_pipelines.doctor import findings
from bertline_pipelines.doctor.findings import Finding, UnclearError
from bertline_pipelines.images import catalogue
from bertline_pipelines.places.profiles import Profile
from bertline_pipelines.stages import STAGES

TIMEOUT_S = (5.0, 15.0)
ATTEMPTS = 2
MANIFESTS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)


def wanted(profile: Profile) -> dict[str, list[str]]:
    """Variant → references of the images that the profile's stages need."""
    found: dict[str, list[str]] = {}
    for stage in STAGES:
        variant = profile.pods.of(stage.name).variant
        reference = catalogue.reference(profile.images.registry, stage.image, variant)
        if reference not in (references := found.setdefault(variant, [])):
            references.append(reference)
    return found


def in_registry(profile: Profile) -> Iterator[Finding]:
    """Ask the registry for each image."""
    registry, there = profile.images.registry, 0
    with requests.Session() as session:
        session.trust_env = not is_here(registry)
        for variant, references in wanted(profile).items():
            try:
                missing = [reference for reference in references if not _has(session, reference)]
            except UnclearError as error:
                yield findings.unknown("images", str(error), "nodes may have access")
                return
            there += len(references) - len(missing)
            if missing:
                options = f"--variant {variant} --registry {registry}"
                yield findings.failed(
                    "images",
                    f"the registry has no {', '.join(missing)} (404), so no node can pull it",
                    f"bertline images build {options} && bertline images push {options}",
                )
    if there:
        yield findings.ok("images", f"{there} are in {registry}")


def on_nodes(profile: Profile, nodes: Sequence[Node]) -> Iterator[Finding]:
    """Look for images that were loaded into the nodes."""
    if profile.images.pull_policy == "Always":
        yield findings.failed(
            "images",
            "`catalogue.registry` is empty: images are loaded into the nodes, but `pull_policy: Always` ignores them",
            "set images.pull_policy to IfNotPresent in the profile",
        )
        return
    workers = [node for node in nodes if not any(taint.key in CONTROL_PLANE for taint in node.taints)] or list(nodes)
    there = 0
    for variant, references in wanted(profile).items():
        absent = {reference: [node.name for node in workers if not _holds(node, reference)] for reference in references}
        there += sum(not names for names in absent.values())
        if lacking := {reference: names for reference, names in absent.items() if names}:
            where = sorted({name for names in lacking.values() for name in names})
            yield findings.warning(
                "images",
                f"{', '.join(lacking)} can't be seen on {'node' if len(where) == 1 else 'nodes'} {', '.join(where)} "
                "(Kubernetes lists the 50 largest images of a node only)",
                f"bertline images build --variant {variant} && bertline images load --variant {variant}",
            )
    if there:
        yield findings.ok("images", f"{there} are loaded on {', '.join(node.name for node in workers)}")


def _holds(node: Node, reference: str) -> bool:
    return any(name == reference or name.endswith(f"/{reference}") for name in node.images)


def _has(session: requests.Session, reference: str) -> bool:
    """Whether the registry has the image; UnclearError if we can't find out."""
    host, _, path = reference.partition("/")
    if not ("." in host or ":" in host or host == "localhost"):
        raise UnclearError(
            f"{reference} names no host, so nodes pull it from their default registry; it wasn't checked"
        )
    root = f"{_scheme(host)}://{host}/v2/"
    answer = _send(session, "GET", root)
    if answer.status_code not in (200, 401, 403):
        raise UnclearError(f"{host} answers {answer.status_code} to {root}, so it isn't a registry")
    name, _, tag = path.rpartition(":")
    where = f"{root}{name}/manifests/{tag}"
    answer = _send(session, "HEAD", where)
    if answer.status_code == 401 and (token := _token(session, answer)):
        answer = _send(session, "HEAD", where, token)
    if answer.status_code in (401, 403):
        raise UnclearError(f"{host} wants credentials for {name} ({answer.status_code}), so it can't be checked")
    if answer.status_code not in (200, 404):
        raise UnclearError(f"{host} answers {answer.status_code} to a request for {name}")
    return answer.status_code == 200


def _token(session: requests.Session, refusal: requests.Response) -> str:
    """The token that many registries give everybody for public images; empty if this one doesn't."""
    kind, _, rest = refusal.headers.get("WWW-Authenticate", "").partition(" ")
    challenge = parse_dict_header(rest) if kind.lower() == "bearer" else {}
    realm = str(challenge.get("realm") or "")
    if urlsplit(realm).scheme != "https" and urlsplit(realm).hostname != urlsplit(refusal.url or "").hostname:
        return ""
    asked = {key: str(challenge[key]) for key in ("service", "scope") if challenge.get(key)}
    answer = _send(session, "GET", realm, params=asked)
    try:
        document = answer.json() if answer.status_code == 200 else {}
    except ValueError:
        return ""
    return str(document.get("token") or document.get("access_token") or "") if isinstance(document, dict) else ""


def _send(session: requests.Session, method: str, url: str, token: str = "", **options: Any) -> requests.Response:
    headers = {"Accept": ", ".join(MANIFESTS)} | ({"Authorization": f"Bearer {token}"} if token else {})
    host = urlsplit(url).netloc

    def send() -> requests.Response:
        try:
            answer = session.request(method, url, headers=headers, timeout=TIMEOUT_S, allow_redirects=False, **options)
        except (requests.RequestException, ValueError) as error:
            reason = type(error).__name__
            raise TransientError(f"the registry at {host} can't be reached from here ({reason})") from error
        if retries.may_pass(answer.status_code):
            raise TransientError(f"{host} answers {answer.status_code}", asked_s=retries.asked_s(answer.headers))
        return answer

    try:
        return retries.repeated(send, ATTEMPTS)
    except TransientError as error:
        raise UnclearError(str(error)) from error


def _scheme(registry: str) -> str:
    """https, but http for a registry on this machine, as container runtimes do."""
    return "http" if is_here(registry) else "https"
