"""Point clouds: what a cloud or mesh is, and which part each of its points belongs to (PointGST, Point-PEFT)."""

from __future__ import annotations

from suite.domain import Domain, Task, on_use

DOMAIN = Domain(
    name="point_cloud",
    title="point clouds and meshes to classes and parts (PointGST, Point-PEFT)",
    extra="point_cloud",
    tasks={
        "classification": Task(
            recipe="domains.point_cloud.recipe:PointCloudRecipe",
            data="domains.point_cloud.data.datamodule:PointCloudData",
            predictor="domains.point_cloud.predict:PointCloudClassifier",
            query="domains.point_cloud.types:ClassificationQuery",
            result="domains.point_cloud.output.result:ClassificationResult",
        ),
        "segmentation": Task(
            recipe="domains.point_cloud.recipe:PartSegmentationRecipe",
            data="domains.point_cloud.data.datamodule:PointCloudData",
            predictor="domains.point_cloud.predict:PointCloudSegmenter",
            query="domains.point_cloud.types:SegmentationQuery",
            result="domains.point_cloud.output.result:SegmentationResult",
        ),
    },
    verbs={
        "evaluate": "domains.point_cloud.evaluation.evaluate:evaluate",
        "calibrate": "domains.point_cloud.evaluation.calibrate:calibrate",
        "inspect": "domains.point_cloud.data.inspect:inspect",
        "base": "domains.point_cloud.official.base:base",
        "onnx": "domains.point_cloud.inference.onnx:onnx",
        "config": "domains.point_cloud.official.config:config",
        "fewshot": "domains.point_cloud.evaluation.fewshot:fewshot",
        "demo": "domains.point_cloud.demo:demo",
    },
)

_PUBLIC = {
    "PointCloudClassifier": "predict",
    "PointCloudSegmenter": "predict",
    "PointCloudRecipe": "recipe",
    "PartSegmentationRecipe": "recipe",
    "PointCloudData": "data.datamodule",
    "ClassificationQuery": "types",
    "ClassificationResult": "output.result",
    "SegmentationQuery": "types",
    "SegmentationResult": "output.result",
}

__all__ = ["DOMAIN", *_PUBLIC]

__getattr__ = on_use(__name__, _PUBLIC)
