"""CLIP with token merging: the schedule, the towers, similarity and loss, what is attached where."""
