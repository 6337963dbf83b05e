"""A file a benchmark: from its folders and lists to labelled frames."""
