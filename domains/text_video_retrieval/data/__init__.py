"""Videos with sentences: how frames are drawn from them, and where they come from."""
