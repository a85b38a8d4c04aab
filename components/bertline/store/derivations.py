"""The request for a result: a stage, its configuration and the keys of its inputs.

The key is the sha256 of canonical JSON of {stage, version, config, inputs}, which contains exactly what changes the
result. Machine, checkpoint interval and so on are provenance, in the manifest.

`config` leaves out every field with its default value. So a new option whose default changes nothing leaves all keys
unchanged. derivation.json also has `resolved`, the configuration with every field, for readers; it isn't in the key.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Key = str
"""64 hexadecimal digits; identifies a derivation and its realization."""

KEY_PATTERN = r"^[0-9a-f]{64}$"


def canonical_json(value: object) -> str:
    """A value as JSON with sorted keys, without spaces, without NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


@dataclass(frozen=True)
class Derivation:
    """A stage, its configuration and the keys of its inputs."""

    stage: str
    version: int
    """The stage's ALGORITHM_VERSION, which is raised when the same config gives another result."""
    config: Mapping[str, Any]
    """The config without fields that have their default value."""
    inputs: Mapping[str, Key] = field(default_factory=dict)
    resolved: Mapping[str, Any] = field(default_factory=dict)
    """The config with every field; not in the key."""

    def document(self) -> dict[str, Any]:
        """The content of derivation.json."""
        return self._hashed() | {"resolved": dict(self.resolved)}

    @property
    def key(self) -> Key:
        """The realization's key."""
        return hashlib.sha256(canonical_json(self._hashed()).encode()).hexdigest()

    def _hashed(self) -> dict[str, Any]:
        return {
            "stage": self.stage,
            "version": self.version,
            "config": dict(self.config),
            "inputs": dict(self.inputs),
        }

    @property
    def prefix(self) -> str:
        """Prefix of the realization's objects in a store."""
        return prefix(self.stage, self.key)


def prefix(stage: str, key: Key) -> str:
    """Prefix of a realization's objects in a store, with a slash at the end."""
    return f"objects/{stage}/{key}/"
