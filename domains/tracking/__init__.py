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
            data="domains.tracking.data.datamodule:TrackingData",
            predictor="domains.tracking.predict:Tracker",
            query="domains.tracking.types:TrackQuery",
            result="domains.tracking.output.result:TrackResult",
        )
    },
    verbs={
        "evaluate": "domains.tracking.evaluation.evaluate:evaluate",
        "export": "domains.tracking.inference.exporting:export",
        "samples": "domains.tracking.evaluation.samples:samples",
        "experts": "domains.tracking.evaluation.experts:experts",
        "vot": "domains.tracking.evaluation.vot:vot",
        "demo": "domains.tracking.demo:demo",
    },
    check_merge="domains.tracking.model.manifest:check_merge",
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
