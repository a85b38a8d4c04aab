from kfp import dsl


@dsl.component(base_image="bertline-corpus", install_kfp_package=False)
def toy(store: str, config: str) -> str:
    """Count pieces."""
    from bertline.toy.config import ToyConfig
    from bertline.toy.stage import run

    from bertline.stage.entrypoints import task

    return task(ToyConfig, run, store, config)
