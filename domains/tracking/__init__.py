"""Tracking: the box of an object in a video's first frame to its boxes in all later ones (SPMTrack)."""

from __future__ import annotations

from suite.domain import Domain, Task, on_use

DOMAIN = Domain(
    name="tracking",
    title="an object's box in one frame of a video to its boxes in all later ones (SPMTrack)",
    extra="tracking",
    tasks={
        "tracking": Task(
            recipe="domains.tracking.recipe:TrackingRecipe",
            data="domains.tracking.data.placeholder:PlaceholderData",
            predictor="domains.tracking.inference.placeholder:PlaceholderTracker",
            query="domains.tracking.types:TrackQuery",
            result="domains.tracking.output.placeholder:PlaceholderResult",
        )
    },
    verbs={
        "samples": "domains.tracking.evaluation.samples:samples",
        "experts": "domains.tracking.evaluation.experts:experts",
        "vot": "domains.tracking.evaluation.vot:vot",
        "demo": "domains.tracking.demo:demo",
    },
)

_PUBLIC = {
    "Tracker": "predict",
    "TrackingRecipe": "recipe",
    "TrackingData": "data.datamodule",
    "TrackQuery": "types",
    "FrameResult": "types",
    "TrackedBox": "types",
    "TrackResult": "output.result",
}

__all__ = ["DOMAIN", *_PUBLIC]

__getattr__ = on_use(__name__, _PUBLIC)
