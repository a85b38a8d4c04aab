"""The KFP signature of the evaluate stage. The only module here that imports kfp; pods run its function's source."""

from kfp import dsl


@dsl.component(base_image="bertline-evaluate", install_kfp_package=False)
def evaluate(store: str, config: str) -> str:
    """Fine-tune one milestone on one task. Returns the evaluation's key; several keys if `config` is a list."""
    from bertline.evaluate.config import EvaluateConfig
    from bertline.evaluate.stage import run
    from bertline.stage.entrypoints import task

    return task(EvaluateConfig, run, store, config)
