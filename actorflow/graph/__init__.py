"""Edges, routing, validation and signature: pure and synchronous."""
