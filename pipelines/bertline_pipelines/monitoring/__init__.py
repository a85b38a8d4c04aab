"""What is shown of a training, and where: one list of panels for Grafana, for a page and for a terminal.

    panels.py       what is shown: plain data
    expressions.py  what is asked of Prometheus for it
    grafana.py      the panels as a Grafana dashboard
    manifests.py    the files that follow from these: `make dashboards` writes them
    queries.py      a Prometheus, asked over HTTP
    pages.py        the panels drawn from one into a static page, for those who have no Grafana
    drawings.py     its charts; formats.py its numbers

All but grafana.py and manifests.py work where no Grafana SDK is; only the page needs what the report needs.
"""
