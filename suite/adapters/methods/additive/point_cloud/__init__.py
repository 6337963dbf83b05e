"""Methods for point clouds, which read the places of the tokens, and the operations on point sets that they share."""
