"""Where an experiment runs: profiles, and how this machine reaches what they name."""
