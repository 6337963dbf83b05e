"""The embedded default of deepfake detection."""
