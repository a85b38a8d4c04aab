"""Machine and versions with which a realization was made. In manifests, never in keys."""

import datetime
import importlib.metadata
import os
import platform
import sys
from typing import Any

import psutil

import bertline
from bertline.process import processors

PACKAGES = ("tensorflow", "tf-models-official", "tf-keras", "numpy", "safetensors", "kfp")


_noted: dict[str, Any] = {}


def note(name: str, value: Any) -> None:
    """Add a value that only the stage knows, for example the GPU; None means not known."""
    if value is not None:
        _noted[name] = value


def processor() -> str:
    """Kind of processor and number of cores."""
    return f"{platform.machine()}, {processors.cores()} cores"


def provenance() -> dict[str, Any]:
    """Version, image, machine, time and the values of `note`, as JSON.

    `BERTLINE_IMAGE` and `BERTLINE_REVISION` are set in the images when they are built.
    """
    return {
        "bertline": bertline.__version__,
        "revision": os.environ.get("BERTLINE_REVISION"),
        "image": os.environ.get("BERTLINE_IMAGE"),
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if _is_loaded(name) and (version := _version(name))},
        "host": platform.node(),
        "processor": processor(),
        "memory_bytes": psutil.virtual_memory().total,
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        **_noted,
    }


def _is_loaded(distribution: str) -> bool:
    """True if this process imported the distribution; only these are named."""
    module = {"tf-models-official": "official"}.get(distribution, distribution.replace("-", "_"))
    return module in sys.modules


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
