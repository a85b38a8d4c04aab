"""The evaluate stage: fine-tune a milestone on a task and report every example of its dev set."""
