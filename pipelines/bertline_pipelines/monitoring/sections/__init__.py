"""The sections of the dashboard and their panels, in order."""

from collections.abc import Iterator

from bertline_pipelines.monitoring.panels import Panel, Query, Section
from bertline_pipelines.monitoring.sections import memory, overview, progress, training

SECTIONS = (
    Section("", overview.OVERVIEW),
    Section("Memory", memory.MEMORY),
    Section("Throughput", training.THROUGHPUT),
    Section("Learning", training.LEARNING),
    Section("Evaluation", training.EVALUATION),
    Section("Progress", progress.PROGRESS),
    Section("Checkpoints and restarts", progress.CHECKPOINTS),
    Section("What ran", overview.PODS, collapsed=True),
)


def all_queries() -> Iterator[tuple[Section, Panel, Query]]:
    """Every query with its section and panel."""
    for section in SECTIONS:
        for panel in section.panels:
            for query in panel.queries:
                yield section, panel, query
