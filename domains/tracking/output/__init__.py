"""What a track is written as."""
