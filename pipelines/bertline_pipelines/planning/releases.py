"""Which dump of Wikimedia's an experiment means: its date, if the file says `latest`, and its published sha1.

It is looked up once. The first `run` or `submit` writes the answer into the store, with the experiment, and from then
on the store is asked: `latest` stays the dump that it was, until the experiment's file names another one by its date.
An experiment that was run before there were look-ups stays as it was, too, and so do its keys.
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
        experiment: As its file has it.
        store: Gives the store, if there is something to look up; None if it can't be asked.
        may_be_unknown: If it is no failure that the server can't be reached: the dump stays as it is.

    Raises:
        UserError: nothing tells what `latest` is.
        TransientError: the server was asked for a while.
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
            said[f"{source.url} can't be looked up now, so the keys of what is made of it aren't known: {error}"] = None
            return source
        if found != source:
            stays = f"as the store has it since the experiment's first run ({place.uri})" if place and known else ""
            said[f"{source.url} is {found.url} with sha1 {found.sha1}{stays and ', ' + stays}"] = None
        return found

    return experiment.with_sources(change), list(said)


def _known(name: str, store: ObjectStore) -> Iterator[tuple[str, Source]]:
    """What the store's versions of the experiment mean, by URL as the file has it; of several the newest comes last."""
    for reference in sorted(references.read(store, name), key=lambda version: version.submitted):
        try:
            experiment = graphs.read(store, reference).experiment
        except BertlineError:
            continue  # an older bertline's
        for source in experiment.sources():
            yield source.asked or source.url, source
