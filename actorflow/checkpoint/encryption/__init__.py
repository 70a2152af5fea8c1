"""Checkpoints whose values nobody reads or changes who has only the storage."""
