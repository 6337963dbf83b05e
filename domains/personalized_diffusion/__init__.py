"""Personalized diffusion: a text-to-image model learns a subject from a few photos (DiffuseKronA, DreamBooth)."""

from __future__ import annotations

from suite.domain import Domain, Task, on_use

DOMAIN = Domain(
    name="personalized_diffusion",
    title="a few photos of a subject to pictures of it anywhere (DiffuseKronA, DreamBooth)",
    extra="personalized_diffusion",
    tasks={
        "default": Task(
            recipe="domains.personalized_diffusion.recipe:DreamBoothRecipe",
            data="domains.personalized_diffusion.data.datamodule:PhotoData",
            predictor="domains.personalized_diffusion.predict:Personalizer",
            query="domains.personalized_diffusion.types:PromptQuery",
            result="domains.personalized_diffusion.output.result:ImagesResult",
        ),
    },
    verbs={
        "evaluate": "domains.personalized_diffusion.evaluation.evaluate:evaluate",
        "compare": "domains.personalized_diffusion.evaluation.compare:compare",
        "inspect": "domains.personalized_diffusion.official.exchange:inspect",
        "export": "domains.personalized_diffusion.official.exchange:export",
        "import": "domains.personalized_diffusion.official.exchange:import_",
        "demo": "domains.personalized_diffusion.demo:demo",
    },
    scorer="domains.personalized_diffusion.evaluation.held_out:scorer",
)

_PUBLIC = {
    "DreamBoothRecipe": "recipe",
    "ImagesResult": "output.result",
    "Personalizer": "predict",
    "PhotoData": "data.datamodule",
    "PromptQuery": "types",
}

__all__ = ["DOMAIN", *_PUBLIC]

__getattr__ = on_use(__name__, _PUBLIC)
