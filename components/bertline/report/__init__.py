"""The report stage: Markdown and one self-contained HTML page, from manifests alone."""
