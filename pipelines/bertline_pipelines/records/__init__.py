"""What the store holds about runs and tasks: submissions, progress of attempts, output."""
