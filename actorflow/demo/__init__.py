"""The demo: it measures the Python standard library it runs on, as a workflow that can be killed and continued.

Written as a user would write it, against the public names alone. Read it in this order: ``library`` and ``measure`` are
plain functions, ``executors`` are the actors, ``workflow`` joins them to a graph, ``command`` runs it, ``display`` shows it.
"""
