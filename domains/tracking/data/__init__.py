"""Frames, boxes and crops: what a tracker is trained and tried on."""
