"""Why something waits or failed."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Reason:
    """A sentence that ends with what to do. Changing amounts are separate, so that they don't count as news."""

    cause: str
    amounts: str = ""
    """Current amounts and times; may be empty."""

    def __str__(self) -> str:
        return f"{self.cause} ({self.amounts})" if self.amounts else self.cause
