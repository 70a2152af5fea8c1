"""The only async core: actors, the runner, ownership and the run handle."""
