"""Methods that train a part of what the model has."""
