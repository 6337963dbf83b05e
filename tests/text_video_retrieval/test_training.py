"""The recipe: loss, same-video masking, gathering, gradient caching, the published optimiser."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from domains.text_video_retrieval.metrics import Recall, both_ways, ranks_of
from domains.text_video_retrieval.model.adamw import AdamW, cosine_factor
from domains.text_video_retrieval.model.similarity import contrastive_loss, dual_softmax, gather, similarity
from domains.text_video_retrieval.recipe import TempMeRecipe
from suite.errors import InputError
from tests.text_video_retrieval import models, two_processes


def batch(count: int = 6, numbers: list[int] | None = None) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)
    tokens = torch.randint(1, models.WORDS - 2, (count, 8), generator=generator)
    tokens[:, 0], tokens[:, 5], tokens[:, 6:] = models.WORDS - 2, models.WORDS - 1, 0
    words = (torch.arange(8) <= 5).long().expand(count, 8)
    frames = torch.randn(count, models.FRAMES, 3, 24, 24, generator=generator)
    return {
        "tokens": tokens,
        "words": words,
        "frames": frames,
        "video": torch.tensor(numbers or list(range(count))),
        "pair": torch.arange(count),
    }


def recipe(**settings: Any) -> TempMeRecipe:
    made = TempMeRecipe(schedule=models.MERGING.to_dict(), frames=models.FRAMES, **settings)
    made.model = models.adapted()
    return made


def test_the_loss_of_reference_similarities() -> None:
    eye, flat = 100 * torch.eye(5), torch.zeros(5, 5)
    assert float(contrastive_loss(eye).mean()) == pytest.approx(math.log(1 + 4 * math.exp(-100)), abs=1e-6)
    assert float(contrastive_loss(flat).mean()) == pytest.approx(math.log(5), rel=1e-6)


def test_the_loss_is_the_loop() -> None:
    made = recipe()
    outputs = made.compute(batch())
    assert outputs.texts is not None and outputs.vectors is not None
    unit = [torch.nn.functional.normalize(each, dim=-1) for each in (outputs.texts, outputs.vectors)]
    logits = float(made.model.logit_scale.exp()) * unit[0] @ unit[1].T
    total = 0.0
    for i in range(6):
        total -= float(logits[i, i] - logits[i].logsumexp(0)) / 12
        total -= float(logits[i, i] - logits[:, i].logsumexp(0)) / 12
    assert float(outputs.loss) == pytest.approx(total, rel=1e-5)


def test_other_sentences_of_a_video_are_negatives_unless_they_are_left_out() -> None:
    numbers = [0, 0, 1, 2, 3, 4]
    plain, masked = (recipe(same_video=kind).compute(batch(6, numbers)) for kind in ("negative", "left_out"))
    assert float(masked.loss) < float(plain.loss)
    assert plain.per_sample is not None and masked.per_sample is not None
    alone = recipe(same_video="left_out").compute(batch())
    assert float(alone.loss) == pytest.approx(float(recipe().compute(batch()).loss))


@pytest.mark.parametrize("size", [1, 2, 4, 6])
def test_gradient_caching_is_the_whole_batch(size: int) -> None:
    found = []
    for grad_cache in (None, size):
        made = recipe(grad_cache=grad_cache)
        made.model.train()
        loss = made.compute(batch()).loss
        loss.backward()
        gradients = {name: p.grad for name, p in made.model.named_parameters() if p.grad is not None}
        found.append((loss.detach(), gradients))
    torch.testing.assert_close(found[1][0], found[0][0], atol=1e-5, rtol=1e-5)
    assert len(found[0][1]) == 16
    for name, gradient in found[0][1].items():
        torch.testing.assert_close(found[1][1][name], gradient, atol=1e-5, rtol=1e-5)


def test_one_process_gathers_what_it_has() -> None:
    vectors = torch.randn(2, 3, requires_grad=True)
    assert gather(vectors) is vectors


def test_two_processes_see_each_others_vectors_and_get_their_own_gradient(tmp_path: Any) -> None:
    """As one process with the whole batch: each rank's own rows have its gradients."""
    import torch.multiprocessing as processes

    # Both are forked from one server that has imported everything: to import is what costs.
    processes.set_forkserver_preload([two_processes.__name__])
    whole = torch.arange(8.0).view(4, 2).requires_grad_()
    (contrastive_loss(whole @ whole.detach().T)).mean().backward()
    places = str(tmp_path / "met"), str(tmp_path)
    processes.start_processes(two_processes.rank, places, nprocs=2, start_method="forkserver")
    for rank in range(2):
        held = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        torch.testing.assert_close(held["whole"], whole.detach())
        torch.testing.assert_close(held["gradient"], whole.grad[2 * rank : 2 * rank + 2])


def test_the_published_optimiser_is_the_formula() -> None:
    """Against scalars, step by step: eps beside the uncorrected root, decay after the step, warm-up from zero."""
    parameter = torch.nn.Parameter(torch.tensor([0.5, -2.0]))
    optimizer = AdamW([parameter], lr=6e-4, weight_decay=0.2)
    factor = cosine_factor(2, 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    values, means, squares = [0.5, -2.0], [0.0, 0.0], [0.0, 0.0]
    for step in range(10):
        gradients = [1e-6 * (step + 1), math.sin(step)]
        parameter.grad = torch.tensor(gradients)
        optimizer.step()
        schedule.step()
        rate = 6e-4 * (step / 2 if step < 2 else 0.5 * (1 + math.cos(math.pi * (step - 2) / 8)))
        for place, gradient in enumerate(gradients):
            means[place] = 0.9 * means[place] + 0.1 * gradient
            squares[place] = 0.999 * squares[place] + 0.001 * gradient**2
            scale = rate * math.sqrt(1 - 0.999 ** (step + 1)) / (1 - 0.9 ** (step + 1))
            values[place] -= scale * means[place] / (math.sqrt(squares[place]) + 1e-6)
            values[place] -= rate * 0.2 * values[place]
        assert parameter.tolist() == pytest.approx(values, abs=1e-6)


def test_every_query_has_one_rank_in_the_middle_of_those_that_tie() -> None:
    assert both_ways(torch.eye(4), range(4))["text_to_video"] == {
        "R@1": 100.0, "R@5": 100.0, "R@10": 100.0, "R@50": 100.0, "R-Sum": 300.0, "MdR": 1.0, "MnR": 1.0,
    }  # fmt: skip
    blind = both_ways(torch.zeros(10, 10), range(10))
    assert (blind["text_to_video"]["R@1"], blind["text_to_video"]["R@5"]) == (0, 0)
    assert (blind["text_to_video"]["MdR"], blind["video_to_text"]["MnR"]) == (5.5, 5.5)
    assert both_ways(torch.zeros(10, 10), range(10), "optimistic")["text_to_video"]["R@1"] == 100
    ranks = ranks_of(torch.tensor([[0.1, 0.9, 0.5], [float("nan"), 0.2, 0.1]]), torch.tensor([2, 0]))
    assert ranks.ranks.tolist() == [2.0, 3.0]


def test_a_video_of_several_sentences_is_found_by_the_best_of_them() -> None:
    scores = torch.tensor([[0.9, 0.1], [0.2, 0.3], [0.4, 0.8]])  # two sentences of video 0, one of video 1
    figures = both_ways(scores, [0, 0, 1])
    assert figures["text_to_video"]["R@1"] == pytest.approx(200 / 3)
    assert figures["video_to_text"]["R@1"] == 100
    four = torch.tensor([[0.9, 0.1], [0.2, 0.3], [0.4, 0.8], [0.6, 0.5]])  # ranks 1, 2, 1, 2
    assert both_ways(four, [0, 0, 1, 1])["text_to_video"]["MdR"] == 1  # CLIP4Clip's lower median


def test_recall_over_a_validation_is_that_of_all_pairs() -> None:
    torch.manual_seed(0)
    texts, vectors = torch.randn(7, 4), torch.randn(7, 4)
    metric = Recall()
    metric.update(texts[:3], vectors[:3], torch.arange(3), torch.arange(3))
    # Of two ranks, whose last batches were filled up: pairs that come twice count once.
    again = torch.tensor([3, 4, 5, 6, 0, 3])
    metric.update(texts[again], vectors[again], again, again)
    expected = both_ways(similarity(texts, vectors), range(7))["text_to_video"]["R@1"]
    assert float(metric.compute()) == pytest.approx(expected)


def test_dual_softmax_is_the_formula() -> None:
    scores = torch.tensor([[0.3, 0.2], [0.29, 0.1]])
    shares = (100 * scores).exp() / (100 * scores).exp().sum(0)
    torch.testing.assert_close(dual_softmax(scores), scores * shares)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"frames": 0}, "frames is 0"),
        ({"grad_cache": 0}, "grad_cache is 0"),
        ({"schedule": {"preset": "vit-l"}}, "choose vit-b-32"),
        ({"adapter": {"preset": "tempmee"}}, "did you mean|choose from"),
    ],
)
def test_settings_that_cannot_be_are_one_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TempMeRecipe(**settings)


@pytest.mark.parametrize(
    ("base", "words"), [("tiny", ""), ("./clip", " --base ./clip"), ("/data/clip", " --base /data/clip")]
)
def test_what_to_do_next_names_a_base_that_is_a_folder(base: str, words: str) -> None:
    index, search = recipe(base=base).next_steps(Path("runs/a"))
    assert index == f"suite text_video_retrieval index FOLDER --adapter ./runs/a/adapter{words}"
    assert search == 'suite text_video_retrieval search "..."'  # the index remembers both
