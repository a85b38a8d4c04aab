from typing import ClassVar

from bertline.stage.configs import StageConfig
from bertline.store.derivations import Key


class ToyConfig(StageConfig):
    STAGE: ClassVar[str] = "toy"
    ALGORITHM_VERSION: ClassVar[int] = 1
    INPUTS: ClassVar[tuple[str, ...]] = ("vocabulary",)

    vocabulary: Key
