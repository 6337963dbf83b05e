"""What a prediction gives: results, their tables, pictures, timelines and annotated copies."""
