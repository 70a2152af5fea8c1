"""JSON-like answers to the types that requests declare, strictly."""
