"""From functions to tests that ran."""
