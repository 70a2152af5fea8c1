"""Checkpoints in the memory of this process."""
