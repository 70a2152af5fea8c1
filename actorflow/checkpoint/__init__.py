"""Checkpoints: records, codec, lineage and the storage backends."""
