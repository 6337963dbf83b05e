"""From hunks to anchored findings."""
