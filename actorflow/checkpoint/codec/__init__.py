"""Values to bytes and back, exactly or not at all, with a closed registry of types."""
