"""Whether everything is there that a run needs: `checks` runs those of the other modules, which return `findings`."""
