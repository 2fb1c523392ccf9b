"""Settings: declared, resolved, written and read."""
