"""The stages, one row each: what pipelines, profiles and images have to know about them.

A new stage is a folder `components/bertline/<package>` (config, stage, component, `__main__`), a row here, an edge in
`bertline_pipelines.planning.unrolling`, and a COPY line in images/Dockerfile.
"""

from dataclasses import dataclass

from bertline.corpus.config import CorpusConfig, CorpusPartConfig
from bertline.evaluate.config import EvaluateConfig
from bertline.pretrain.config import PretrainConfig
from bertline.report.config import ReportConfig
from bertline.stage.configs import StageConfig
from bertline.vocabulary.config import VocabularyConfig


@dataclass(frozen=True)
class Stage:
    """One stage."""

    config: type[StageConfig]
    """The class of `bertline.<package>.config`."""
    image: str
    """Its image, a folder of `images/`."""
    serves_metrics: bool = False
    """True if its pods serve metrics."""
    may_have_gpu: bool = False
    """True if its image has a variant for GPUs."""

    @property
    def name(self) -> str:
        """Its name in store, plan and logs."""
        return self.config.STAGE

    @property
    def package(self) -> str:
        """Its folder in components/bertline, and its section in a profile's `pods`."""
        return self.config.__module__.split(".")[1]


STAGES = (
    Stage(VocabularyConfig, image="corpus"),
    Stage(CorpusConfig, image="corpus"),
    Stage(CorpusPartConfig, image="corpus"),
    Stage(PretrainConfig, image="pretrain", serves_metrics=True, may_have_gpu=True),
    Stage(EvaluateConfig, image="evaluate", serves_metrics=True, may_have_gpu=True),
    Stage(ReportConfig, image="report"),
)

PACKAGES = tuple(dict.fromkeys(stage.package for stage in STAGES))
"""All packages without repetitions: the sections of a profile's `pods`."""

_BY_NAME = {stage.name: stage for stage in STAGES}


def of(name: str) -> Stage:
    """The row of a stage."""
    return _BY_NAME[name]
