"""What was made, and files and pages of it."""
