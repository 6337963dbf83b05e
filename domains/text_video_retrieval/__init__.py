"""Text-to-video retrieval: sentences to the videos, and the seconds in them, that they describe (TempMe on CLIP)."""

from __future__ import annotations

from suite.domain import Domain, Task, on_use

DOMAIN = Domain(
    name="text_video_retrieval",
    title="sentences to videos and the seconds in them (TempMe: temporal token merging on CLIP)",
    extra="text_video_retrieval",
    tasks={
        "default": Task(
            recipe="domains.text_video_retrieval.recipe:TempMeRecipe",
            data="domains.text_video_retrieval.data.datamodule:TextVideoData",
            predictor="domains.text_video_retrieval.predict:VideoMatcher",
            query="domains.text_video_retrieval.types:TextVideoQuery",
            result="domains.text_video_retrieval.output.result:VideoResult",
        )
    },
    verbs={
        "evaluate": "domains.text_video_retrieval.evaluation.evaluate:evaluate",
        "index": "domains.text_video_retrieval.inference.indexing:index",
        "search": "domains.text_video_retrieval.inference.searching:search",
        "duplicates": "domains.text_video_retrieval.inference.duplicates:duplicates",
        "store": "domains.text_video_retrieval.inference.upkeep:store",
        "merging": "domains.text_video_retrieval.inference.merging:merging",
        "demo": "domains.text_video_retrieval.demo:demo",
        "export": "domains.text_video_retrieval.inference.exporting:export",
        "convert-msvd": "domains.text_video_retrieval.data.datasets.msvd:convert_msvd",
    },
    check_merge="domains.text_video_retrieval.model.manifest:check_merge",
)

_PUBLIC = {
    "VideoMatcher": "predict",
    "VideoSearcher": "inference.searching",
    "Encoder": "inference.loaded",
    "Hit": "output.page",
    "TempMeRecipe": "recipe",
    "TextVideoData": "data.datamodule",
    "TextVideoQuery": "types",
    "VideoResult": "output.result",
    "Schedule": "model.schedule",
}

__all__ = ["DOMAIN", *_PUBLIC]

__getattr__ = on_use(__name__, _PUBLIC)
