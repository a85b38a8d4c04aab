"""The KFP signatures of the corpus stage. The only module here that imports kfp; pods run its functions' source."""

from kfp import dsl


@dsl.component(base_image="bertline-corpus", install_kfp_package=False)
def corpus(store: str, config: str) -> str:
    """Make TFRecords from a dump. Returns the corpus' key; several keys if `config` is a list."""
    from bertline.corpus.config import CorpusConfig
    from bertline.corpus.stage import run
    from bertline.stage.entrypoints import task

    return task(CorpusConfig, run, store, config)


@dsl.component(base_image="bertline-corpus", install_kfp_package=False)
def corpus_part(store: str, config: str) -> str:
    """Do a share of the work on a corpus. Returns the part's key; several keys if `config` is a list."""
    from bertline.corpus.config import CorpusPartConfig
    from bertline.corpus.parts import run
    from bertline.stage.entrypoints import task

    return task(CorpusPartConfig, run, store, config)
