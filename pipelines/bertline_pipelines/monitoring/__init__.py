"""The monitoring of a training: one list of panels for Grafana and for a static page.

    panels.py       what a panel is
    sections/       the panels: plain data
    expressions.py  their PromQL
    grafana.py      the panels as a Grafana dashboard
    manifests.py    `make dashboards`: writes the dashboard and the rules
    queries.py      queries a Prometheus over HTTP
    pages.py        draws the panels into a static page, for use without Grafana
    drawings.py     the page's charts, in the report's theme; formats.py its numbers

Only grafana.py and manifests.py need the Grafana SDK; only the page needs the report's packages.
"""
