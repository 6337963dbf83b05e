"""Deepfakes: faces that were swapped or reenacted in pictures and videos (LayerNorm-tuned CLIP)."""

from __future__ import annotations

from suite.domain import Domain, Task, on_use

DOMAIN = Domain(
    name="deepfake",
    title="pictures and videos of faces to scores of manipulation (LayerNorm-tuned CLIP)",
    extra="deepfake",
    tasks={
        "detection": Task(
            recipe="domains.deepfake.recipe:DeepfakeRecipe",
            data="domains.deepfake.data.datamodule:DeepfakeData",
            predictor="domains.deepfake.predict:DeepfakeDetector",
            query="domains.deepfake.types:DetectionQuery",
            result="domains.deepfake.output.result:DetectionResult",
        )
    },
    verbs={
        "evaluate": "domains.deepfake.evaluation.evaluate:evaluate",
        "calibrate": "domains.deepfake.evaluation.calibrate:calibrate",
        "preprocess": "domains.deepfake.data.preprocess:preprocess",
        "explain": "domains.deepfake.evaluation.explain:explain",
        "benchmark": "domains.deepfake.evaluation.benchmark:benchmark",
        "config": "domains.deepfake.official.config:config",
        "onnx": "domains.deepfake.inference.onnx:onnx",
        "demo": "domains.deepfake.demo:demo",
    },
)

_PUBLIC = {
    "DeepfakeDetector": "predict",
    "DeepfakeRecipe": "recipe",
    "DeepfakeData": "data.datamodule",
    "DetectionQuery": "types",
    "DetectionResult": "output.result",
}

__all__ = ["DOMAIN", *_PUBLIC]

__getattr__ = on_use(__name__, _PUBLIC)
