"""Music: four numbers in a text file to the place of the largest; a skeleton's job."""

from __future__ import annotations

from suite.domain import Domain, Task, on_use

DOMAIN = Domain(
    name="music",
    title="four numbers to the place of the largest (a skeleton)",
    extra="music",
    tasks={
        "default": Task(
            recipe="domains.music.recipe:MusicRecipe",
            data="domains.music.data.numbers:MusicData",
            predictor="domains.music.inference.skeleton:MusicGenerator",
            query="domains.music.types:MusicQuery",
            result="domains.music.output.skeleton:MusicResult",
        )
    },
    verbs={
        "dunya": "domains.music.data.datasets.dunya:dunya",
        "prepare": "domains.music.data.prepare:prepare",
        "convert": "domains.music.official.convert:convert",
        "elo": "domains.music.evaluation.elo:elo",
        "demo": "domains.music.demo:demo",
    },
)

_PUBLIC = {
    "MusicGenerator": "predict",
    "MusicRecipe": "recipe",
    "MusicData": "data.datamodule",
    "MusicQuery": "types",
    "MusicResult": "output.result",
}

__all__ = ["DOMAIN", *_PUBLIC]

__getattr__ = on_use(__name__, _PUBLIC)
