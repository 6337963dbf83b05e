"""Music: a text-to-music model learns a genre from recordings of it (adapters on MusicGen and Mustango)."""

from __future__ import annotations

from suite.domain import Domain, Task, on_use

DOMAIN = Domain(
    name="music",
    title="sentences to music of a genre, learned from recordings of it (adapters on MusicGen and Mustango)",
    extra="music",
    tasks={
        "musicgen": Task(
            recipe="domains.music.recipe.musicgen:MusicGenRecipe",
            data="domains.music.data.datamodule:MusicData",
            predictor="domains.music.predict:MusicGenerator",
            query="domains.music.types:MusicQuery",
            result="domains.music.output.result:MusicResult",
        ),
        "mustango": Task(
            recipe="domains.music.recipe.mustango:MustangoRecipe",
            data="domains.music.data.datamodule:MusicData",
            predictor="domains.music.predict:MusicGenerator",
            query="domains.music.types:MusicQuery",
            result="domains.music.output.result:MusicResult",
        ),
    },
    verbs={
        "prepare": "domains.music.data.prepare:prepare",
        "evaluate": "domains.music.evaluation.evaluate:evaluate",
        "elo": "domains.music.evaluation.elo:elo",
        "convert": "domains.music.official.whole:convert",
        "dunya": "domains.music.data.datasets.dunya:dunya",
        "demo": "domains.music.demo:demo",
    },
    load_base="domains.music.model.bases:load_base",
    save_base="domains.music.model.bases:save_base",
)

_PUBLIC = {
    "MusicGenerator": "predict",
    "MusicGenRecipe": "recipe.musicgen",
    "MustangoRecipe": "recipe.mustango",
    "MusicData": "data.datamodule",
    "MusicQuery": "types",
    "MusicResult": "output.result",
}

__all__ = ["DOMAIN", *_PUBLIC]

__getattr__ = on_use(__name__, _PUBLIC)
