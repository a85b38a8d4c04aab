"""`python -m bertline.report --store URI --config JSON`: what runs in the pod."""

from bertline.report.config import ReportConfig
from bertline.report.stage import run
from bertline.stage.entrypoints import main

if __name__ == "__main__":
    raise SystemExit(main(ReportConfig, run))
