"""Why something waits or failed."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Reason:
    """A sentence that ends with what to do. What changes from look to look is apart, so that it isn't told as news."""

    cause: str
    amounts: str = ""
    """How much, how long, as of now; empty if the cause says it all."""

    def __str__(self) -> str:
        return f"{self.cause} ({self.amounts})" if self.amounts else self.cause
