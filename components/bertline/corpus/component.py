"""The KFP signature of the corpus stage. The only module here that imports kfp; pods run its function's source."""

from kfp import dsl


@dsl.component(base_image="bertline-corpus", install_kfp_package=False)
def corpus(store: str, config: str) -> str:
    """TFRecords from a dump. Returns its key; several keys if `config` is a list."""
    from bertline.corpus.config import CorpusConfig
    from bertline.corpus.stage import run
    from bertline.entrypoints import task

    return task(CorpusConfig, run, store, config)
