"""Executors, their handlers and the context they are given."""
