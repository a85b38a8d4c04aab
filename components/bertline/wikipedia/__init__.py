"""Reads MediaWiki dumps: bytes of a dump → pages → prose → sentences. A pure library: no store, no pipeline.

| module | from → to |
|---|---|
| `dumps` | a dump file → slices that any worker can read → raw pages |
| `pages` | a raw page → title, namespace, redirect, wikitext |
| `articles` | wikitext → paragraphs of prose |
| `sentences` | a paragraph → sentences |
| `samples` | a small dump made of what every Python ships, for demos and tests |
"""
