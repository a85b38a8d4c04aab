"""`python -m bertline.report --store URI --config JSON`: what runs in the pod."""

from bertline.entrypoints import main
from bertline.report.config import ReportConfig
from bertline.report.stage import run

if __name__ == "__main__":
    raise SystemExit(main(ReportConfig, run))
