"""The configuration of the report stage."""

from typing import ClassVar

from bertline.stage.configs import StageConfig


class ReportConfig(StageConfig):
    """The report of one version of an experiment. The graph's digest represents all its keys.

    Payload: `report.html` (self-contained), `report.md`, and the charts they show: `wallclock-accuracy` and
    `wallclock-loss`, each as `.svg` and `.png`. Results and measurements: see `report.stage`.
    """

    STAGE: ClassVar[str] = "report"
    ALGORITHM_VERSION: ClassVar[int] = 1
    INPUTS: ClassVar[tuple[str, ...]] = ()

    name: str
    """The experiment's name, by which its graph is found, see `bertline.store.references`."""
    graph: str
    """Digest of the graph."""
