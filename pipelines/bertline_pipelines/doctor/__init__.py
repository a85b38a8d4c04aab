"""Whether everything is there that a run needs: `examinations` runs the checks of the other modules, see `findings`."""
