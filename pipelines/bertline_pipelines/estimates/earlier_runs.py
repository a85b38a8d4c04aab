"""Earlier results in a store, as a basis of estimates: manifests and their derivations."""

import json
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from bertline.corpus.config import CorpusConfig
from bertline.errors import BertlineError
from bertline.process import parallel
from bertline.sources.files import Source
from bertline.store import attempts, derivations, realizations
from bertline.store.objects import ObjectStore
from bertline.store.realizations import Manifest
from bertline.vocabulary.config import VocabularyConfig
from bertline_pipelines.estimates import devices
from bertline_pipelines.estimates.devices import GPUS, Device
from bertline_pipelines.planning.plans import Plan

RECENT = 200
"""The newest manifests of a stage that are used; old measurements from other machines say little."""


@dataclass(frozen=True)
class Earlier:
    """A finished realization."""

    config: dict[str, Any]
    """The configuration with every field."""
    inputs: dict[str, str]
    manifest: Manifest

    @property
    def is_gpu(self) -> bool:
        """True if it was made with a GPU."""
        return bool(self.manifest.measurements.get("gpu_present"))

    @property
    def gpu(self) -> str:
        """Its GPU, a key of `devices.GPUS`."""
        return devices.model(str(self.manifest.provenance.get("gpu") or ""))

    @property
    def processor(self) -> str:
        """Its processor."""
        return str(self.manifest.provenance.get("processor") or "an unnamed processor")

    @property
    def where(self) -> str:
        """Its GPU or processor, as text."""
        if not self.is_gpu:
            return self.processor
        return str(self.manifest.provenance.get("gpu") or f"an unnamed GPU beside {self.processor}")

    @property
    def size(self) -> int:
        """Bytes of its payload."""
        return sum(file.size for file in self.manifest.files)

    def measured(self, name: str) -> float:
        """A measurement; 0 if there is none."""
        value = self.manifest.measurements.get(name)
        return float(value) if isinstance(value, int | float) else 0.0

    def result(self, name: str) -> float:
        """A result that is a number; 0 if there is none."""
        value = self.manifest.results.get(name)
        return float(value) if isinstance(value, int | float) else 0.0


@dataclass
class EarlierRuns:
    """Earlier results of a store, read on first use."""

    plan: Plan
    store: ObjectStore | None
    _took: dict[str, float | None] = field(default_factory=dict)
    _read: dict[str, list[Earlier]] = field(default_factory=dict)

    def earlier(self, stage: str) -> list[Earlier]:
        """Finished results of a stage, the newest first."""
        if stage not in self._read:
            self._read[stage] = _all(self.store, stage) if self.store else []
        return self._read[stage]

    def closest(self, found: Iterable[Earlier], device: Device) -> list[Earlier]:
        """Results from the same kind of device; only from the same model, if there are some."""
        right = [earlier for earlier in found if earlier.is_gpu == (device.gpu is not None)]
        if device.gpu is None:
            return [each for each in right if each.processor == device.processor] or right
        if device.gpu == devices.UNKNOWN:
            return right
        return [each for each in right if each.gpu == device.gpu] or [each for each in right if each.gpu in GPUS]

    def took(self, earlier: Earlier) -> float | None:
        """Duration of its attempt in seconds; None if several attempts made it."""
        manifest = earlier.manifest
        if manifest.key not in self._took:
            self._took[manifest.key] = _attempt(self.store, manifest) if self.store else None
        return self._took[manifest.key]

    @cached_property
    def pieces(self) -> int | None:
        """Size of the vocabulary; None means not known yet."""
        config = self.plan.graph.configs(VocabularyConfig)[0]
        if self.store and (found := realizations.find(self.store, config.STAGE, config.derivation().key)):
            return found.manifest.results.get("pieces")
        if config.vocabulary.train:
            return config.vocabulary.train.size
        file = config.vocabulary.file
        return lines(file) if file else None

    @cached_property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """Key of a corpus → (sequence length, predictions); a milestone has only its corpus' key."""
        ours = self.plan.graph.configs(CorpusConfig)[0]
        found = {earlier.manifest.key: earlier.config["corpus"] for earlier in self.earlier("corpus")}
        found[ours.derivation().key] = ours.corpus.model_dump(mode="json")
        return {key: (corpus["sequence_length"], corpus["max_predictions"]) for key, corpus in found.items()}


def _all(store: ObjectStore, stage: str) -> list[Earlier]:
    manifests = [found for found in store.list(f"objects/{stage}/") if found.name.endswith(f"/{realizations.MANIFEST}")]
    newest = sorted(manifests, key=lambda found: -found.modified)[:RECENT]

    def earlier(name: str) -> Earlier | None:
        place = name.removesuffix(realizations.MANIFEST)
        try:
            manifest = Manifest.model_validate_json(store.get(name)[0])
            asked = json.loads(store.get(f"{place}{realizations.DERIVATION}")[0])
            return Earlier(dict(asked["resolved"]), dict(asked["inputs"]), manifest)
        except (BertlineError, ValueError, KeyError, TypeError):
            return None  # `bertline store verify` reports damaged ones

    return list(filter(None, parallel.each(earlier, [found.name for found in newest])))


def _attempt(store: ObjectStore, manifest: Manifest) -> float | None:
    if manifest.provenance.get("attempts") != 1:
        return None
    try:
        only = attempts.read_one(store, derivations.prefix(manifest.stage, manifest.key), 1)
    except BertlineError:
        return None
    return only.heard - only.begun


def lines(source: Source) -> int | None:
    """Lines of a file on this machine, or of a sample; None if it is elsewhere."""
    with _here(source) as path:
        if path is None:
            return None
        with path.open("rb") as file:
            return sum(1 for _ in file)


def size(source: Source) -> int | None:
    """Bytes of a file on this machine, or of a sample; None if it is elsewhere."""
    with _here(source) as path:
        return None if path is None else path.stat().st_size


@contextmanager
def _here(source: Source) -> Iterator[Path | None]:
    with tempfile.TemporaryDirectory(prefix="bertline-") as directory:
        path = Path(source.url)
        if source.is_sample or (source.member and source.is_local and path.is_file()):
            yield source.look(Path(directory))
        else:
            yield path if source.is_local and path.is_file() else None
