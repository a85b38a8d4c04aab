"""The checks of `bertline doctor`: `checks` runs those of the other modules, which return `findings`."""
