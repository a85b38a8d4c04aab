"""The KFP signature of the vocabulary stage. The only module here that imports kfp; pods run its function's source."""

from kfp import dsl


@dsl.component(base_image="bertline-vocabulary", install_kfp_package=False)
def vocabulary(store: str, config: str) -> str:
    """A WordPiece vocabulary. Returns its key; several keys if `config` is a list."""
    from bertline.stage.entrypoints import task
    from bertline.vocabulary.config import VocabularyConfig
    from bertline.vocabulary.stage import run

    return task(VocabularyConfig, run, store, config)
