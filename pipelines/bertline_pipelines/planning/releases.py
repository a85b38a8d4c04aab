"""Finds the date of a Wikimedia dump `latest`, and its published sha1.

They are looked up once: the first `run` or `submit` writes them into the store with the experiment, and later commands
read them there. So `latest` stays the same dump until the experiment's file names another date. Older experiments
without a look-up keep their keys.
"""

from collections.abc import Callable, Iterator

from bertline.errors import BertlineError, TransientError
from bertline.experiment import graphs
from bertline.experiment.specs import Experiment
from bertline.sources import releases
from bertline.sources.files import Source
from bertline.store import references
from bertline.store.objects import ObjectStore


def resolved(
    experiment: Experiment, store: Callable[[], ObjectStore | None], *, may_be_unknown: bool = False
) -> tuple[Experiment, list[str]]:
    """The experiment with dates and checksums, and a sentence for each that was found.

    Args:
        experiment: The experiment from its file.
        store: Returns the store, if there is something to look up; None if it can't be read.
        may_be_unknown: If the server can't be reached, keep the dump unchanged instead of failing.

    Raises:
        UserError: the date of `latest` can't be found.
        TransientError: the server failed repeatedly.
    """
    if not any(map(releases.has_more, experiment.sources())):
        return experiment, []
    place = store()
    known = dict(_known(experiment.name, place)) if place else {}
    said: dict[str, None] = {}

    def change(source: Source) -> Source:
        if not releases.has_more(source):
            return source
        found = known.get(source.url)
        try:
            found = found or releases.look_up(source)
        except TransientError as error:
            if not may_be_unknown:
                raise
            said[f"{source.url} can't be looked up now, so its results' keys aren't known: {error}"] = None
            return source
        if found != source:
            stays = f"as the store has it since the experiment's first run ({place.uri})" if place and known else ""
            said[f"{source.url} is {found.url} with sha1 {found.sha1}{stays and ', ' + stays}"] = None
        return found

    return experiment.with_sources(change), list(said)


def _known(name: str, store: ObjectStore) -> Iterator[tuple[str, Source]]:
    """(URL in the file, source) of all versions of the experiment in the store; the newest version is last."""
    for reference in sorted(references.read(store, name), key=lambda version: version.submitted):
        try:
            experiment = graphs.read(store, reference).experiment
        except BertlineError:
            continue  # written by an older bertline
        for source in experiment.sources():
            yield source.asked or source.url, source
