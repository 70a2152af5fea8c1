"""Messages, effects, state and commit: plain values and plain functions, no trio, no I/O."""
