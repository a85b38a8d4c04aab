"""Marks results on generated sample data, so that nobody takes them for findings."""

from bertline.experiment.specs import Experiment

MEANING = "it says nothing about language"


def sources(experiment: Experiment) -> list[str]:
    """All sources of an experiment that are samples."""
    found = [experiment.corpus.dump, experiment.vocabulary.file]
    for files in experiment.evaluate.tasks.values():
        found += [files.train, files.dev]
    return list(dict.fromkeys(source.url for source in found if source and source.url.startswith("sample:")))


def label_of(task: str, experiment: Experiment) -> str:
    """A task's name in the report; says if the task is a sample."""
    files = experiment.evaluate.tasks.get(task)  # type: ignore[call-overload]
    is_sample = task.startswith("sample-") or any(
        source.url.startswith("sample:") for source in ([files.train, files.dev] if files else [])
    )
    return f"{task} (sample data)" if is_sample else task


def banner(experiment: Experiment) -> str:
    """The warning at the top of a report; empty if all data is real."""
    if not (found := sources(experiment)):
        return ""
    return f"This is a demonstration on sample data: {', '.join(found)}. {MEANING[0].upper()}{MEANING[1:]}."
