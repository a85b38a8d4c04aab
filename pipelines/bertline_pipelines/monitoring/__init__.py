"""What is shown of a training, and where: one list of panels for Grafana, a page and a terminal.

panels.py    what is asked of Prometheus and how it is to be read: plain data
grafana.py   the panels as a Grafana dashboard
manifests.py the files that follow from these: `make dashboards` writes them
queries.py   a Prometheus, asked over HTTP
pages.py     the panels drawn into one static page, for those who have no Grafana
"""
