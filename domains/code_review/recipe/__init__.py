"""What is adapted, what is minimised, what is measured."""
