"""The clauses of the storage conformance suite, by what they are about."""
