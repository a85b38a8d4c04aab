"""The KFP signature of the pretrain stage. The only module here that imports kfp; pods run its function's source."""

from kfp import dsl


@dsl.component(base_image="bertline-pretrain", install_kfp_package=False)
def pretrain(store: str, config: str) -> str:
    """Train one round of one model. Returns its key; several keys if `config` is a list."""
    from bertline.pretrain.config import PretrainConfig
    from bertline.pretrain.stage import run
    from bertline.stage.entrypoints import task

    return task(PretrainConfig, run, store, config)
