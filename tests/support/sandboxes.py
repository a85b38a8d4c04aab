"""Runs commands in a built image as Kubernetes would: read-only, as nobody, without capabilities. Needs root, buildah.

/                what the image holds, mounted read-only
/tmp, /store     folders of this machine; nothing else can be written
"""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NOBODY = 65532

# setpriv comes from the image, since chroot has to happen before it: every Debian has it.
SCRIPT = """
set -eu
root=$1 store=$2 scratch=$3 folder=$4
shift 4
mount --make-rprivate /
mount --bind "$root" "$root"
mount --bind "$store" "$root/store"
mount --bind "$scratch" "$root/tmp"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -o remount,bind,ro "$root"
exec chroot "$root" /usr/bin/setpriv --reuid 65532 --regid 65532 --clear-groups --no-new-privs \
    --inh-caps=-all --bounding-set=-all -- /bin/sh -c 'cd "$0" && exec "$@"' "$folder" "$@"
"""


@dataclass(frozen=True)
class Sandbox:
    """An image, laid out."""

    root: Path
    config: Mapping[str, Any]
    """Of the image: Env, Entrypoint, User, WorkingDir, Labels."""
    store: Path
    scratch: Path

    def run(self, command: Sequence[str], **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run a command with the image's environment and more."""
        ours = dict(each.split("=", 1) for each in self.config["Env"])
        places = [str(place) for place in (self.root, self.store, self.scratch)]
        unshare = ["/usr/bin/unshare", "--mount", "--ipc", "--pid", "--net", "--fork", "--kill-child"]
        return subprocess.run(
            [*unshare, "/bin/sh", "-c", SCRIPT, "sandbox", *places, self.config["WorkingDir"], *command],
            env=ours | environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )


@contextmanager
def laid_out(reference: str, environment: Mapping[str, str], store: Path, scratch: Path) -> Iterator[Sandbox]:
    """A container of an image.

    Args:
        reference: The image.
        environment: In which buildah finds it.
        store: Becomes /store.
        scratch: Becomes /tmp.
    """

    def buildah(*words: str) -> str:
        return subprocess.run(["buildah", *words], env=environment, capture_output=True, text=True, check=True).stdout

    container = buildah("from", "--pull-never", reference).strip()
    try:
        root = Path(buildah("mount", container).strip())
        (root / "store").mkdir()  # as the kubelet does for volumes
        for folder in (store, scratch):
            folder.mkdir(exist_ok=True)
            os.chown(folder, NOBODY, NOBODY)
        config = json.loads(buildah("inspect", "--type", "image", reference))["OCIv1"]["config"]
        yield Sandbox(root, config, store, scratch)
    finally:
        buildah("rm", container)
