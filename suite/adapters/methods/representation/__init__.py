"""Methods that act on hidden states."""
