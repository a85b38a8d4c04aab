"""From an experiment to what is left to do: its graph, cheap checks of its inputs, the plan."""
