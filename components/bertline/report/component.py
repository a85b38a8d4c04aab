"""The KFP signature of the report stage. The only module here that imports kfp; pods run its function's source."""

from kfp import dsl


@dsl.component(base_image="bertline-report", install_kfp_package=False)
def report(store: str, config: str) -> str:
    """Make the report. Returns its key, or several keys if `config` is a list."""
    from bertline.report.config import ReportConfig
    from bertline.report.stage import run
    from bertline.stage.entrypoints import task

    return task(ReportConfig, run, store, config)
