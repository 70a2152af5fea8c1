"""Checkpoints in a schema of a PostgreSQL database. Needs the extra ``postgres``."""
