"""Pictures, videos and reports, without any domain knowledge: `plots`, `graph`, `video` and `report`.

Drawing uses matplotlib's object interface only: a `Figure` belongs to its caller, and no global state, display or
window is touched, so that drawing works in threads, workers and servers alike.
"""
