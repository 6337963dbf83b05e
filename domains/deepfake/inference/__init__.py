"""Between a predictor and its model: the loaded model, faces of pictures and videos, tracks, heatmaps."""
