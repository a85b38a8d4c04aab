"""What is asked for, before it exists: one stage, its configuration and the keys of its inputs.

The key is sha256 over canonical JSON of {stage, version, config, inputs}: all that changes the result and nothing that
doesn't. Where it runs, how often it saves, who resumes it: that is provenance, kept in the manifest.

`config` leaves out every field that has its default. So an option that is added later, with a default that changes
nothing, leaves all keys as they are. derivation.json also holds `resolved`, the configuration with every field, for
readers; the key doesn't count it.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Key = str
"""64 hexadecimal digits; names a derivation and the place of its realization."""

KEY_PATTERN = r"^[0-9a-f]{64}$"


def canonical_json(value: object) -> str:
    """The one spelling of a JSON value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


@dataclass(frozen=True)
class Derivation:
    """One stage + its config + the keys of its inputs."""

    stage: str
    version: int
    """The stage's ALGORITHM_VERSION: raised when the same config would give another result."""
    config: Mapping[str, Any]
    """Without the fields that have their default."""
    inputs: Mapping[str, Key] = field(default_factory=dict)
    resolved: Mapping[str, Any] = field(default_factory=dict)
    """The config with every field; not in the key."""

    def document(self) -> dict[str, Any]:
        """As derivation.json holds it."""
        return self._hashed() | {"resolved": dict(self.resolved)}

    @property
    def key(self) -> Key:
        """Where the realization belongs."""
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
        """Where the realization's objects lie in a store."""
        return prefix(self.stage, self.key)


def prefix(stage: str, key: Key) -> str:
    """Where a realization's objects lie in a store, with the last slash."""
    return f"objects/{stage}/{key}/"
