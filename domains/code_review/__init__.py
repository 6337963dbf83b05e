"""Code review (LLaMA-Reviewer): a diff in, comments at its lines, patches and SARIF out."""

from __future__ import annotations

from suite.domain import Domain, Task, on_use


def _of_commits(name: str) -> Task:
    kind = {"defects": "Defect", "message": "Message"}[name]
    return Task(
        recipe=f"domains.code_review.recipe.changes:{kind}Recipe",
        data="domains.code_review.data.change_datamodule:ChangeData",
        predictor=f"domains.code_review.predict.commits:{kind}Predictor",
        query="domains.code_review.types:ChangeQuery",
        result="domains.code_review.output.change_result:ChangeResult",
    )


def _task(name: str) -> Task:
    return Task(
        recipe=f"domains.code_review.recipe.review:{name.capitalize()}Recipe",
        data="domains.code_review.data.datamodule:CodeReviewData",
        predictor="domains.code_review.predict.reviewers:CodeReviewer",
        query="domains.code_review.types:ReviewQuery",
        result="domains.code_review.output.result:ReviewResult",
    )


DOMAIN = Domain(
    name="code_review",
    title="diffs to comments at their lines, with patches that apply (LLaMA-Reviewer)",
    extra="code_review",
    tasks={name: _task(name) for name in ("necessity", "comment", "refinement")}
    | {name: _of_commits(name) for name in ("defects", "message")},
    verbs={
        "predict": "domains.code_review.predict.predict:predict",
        "evaluate": "domains.code_review.evaluation.evaluate:evaluate",
        "mine": "domains.code_review.data.mine:mine",
        "review": "domains.code_review.predict.review:review",
        "demo": "domains.code_review.demo:demo",
    },
)

_PUBLIC = {
    "CodeReviewer": "predict.reviewers",
    "RuleReviewer": "predict.reviewers",
    "NecessityRecipe": "recipe.review",
    "CommentRecipe": "recipe.review",
    "RefinementRecipe": "recipe.review",
    "DefectPredictor": "predict.commits",
    "MessagePredictor": "predict.commits",
    "DefectRecipe": "recipe.changes",
    "MessageRecipe": "recipe.changes",
    "ChangeData": "data.change_datamodule",
    "CodeReviewerT5": "model.encoder_decoder",
    "CodeReviewData": "data.datamodule",
    "ReviewQuery": "types",
    "ReviewResult": "output.result",
    "parse_diff": "data.readers.diff",
    "Diff": "types",
    "FilePatch": "types",
    "Hunk": "types",
    "Finding": "types",
}

__all__ = ["DOMAIN", *_PUBLIC]

__getattr__ = on_use(__name__, _PUBLIC)
