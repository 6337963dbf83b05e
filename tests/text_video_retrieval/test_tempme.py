"""The towers: every layer against loops, reference values, counts at real size."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional
from transformers import CLIPConfig, CLIPModel

from domains.text_video_retrieval.model.attachments import attach_section
from domains.text_video_retrieval.model.costs import text_cost, video_cost
from domains.text_video_retrieval.model.schedule import UNMERGED, Schedule
from domains.text_video_retrieval.model.tempme import TempMe, feed_forward, plan_of
from domains.text_video_retrieval.model.tracing import token_of_patch
from suite import adapters
from suite.adapters.section import AdapterSection
from tests.text_video_retrieval import models, reference


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return models.adapted()


def videos(count: int = 2, frames: int = models.FRAMES, side: int = 24) -> torch.Tensor:
    return torch.randn(count, frames, 3, side, side, generator=torch.Generator().manual_seed(1))


def entering(model: nn.Module, frames: torch.Tensor) -> torch.Tensor:
    return model.vision_model.pre_layrnorm(model.vision_model.embeddings(frames.flatten(0, 1)))


def after_each_layer(model: nn.Module, x: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor | None]]:
    size, found = None, []
    for layer in model.vision_model.encoder.layers:
        x, size = layer(x, size)
        found.append((x, size))
    return found


@pytest.mark.parametrize(
    "schedule", [models.MERGING, Schedule((1, 3), (2, 1), (40, 20), 3), Schedule((3,), (2,), (0, 10), 0)]
)
def test_every_layer_is_the_loop(schedule: Schedule) -> None:
    """Tokens and sizes of one video after each layer, joins of one clip and merges of none included."""
    model = models.adapted(schedule)
    x = entering(model, videos(2))
    clips, sizes = list(x[models.FRAMES :]), None  # of the second video
    for layer, (tokens, size) in zip(model.vision_model.encoder.layers, after_each_layer(model, x), strict=True):
        clips, sizes = reference.block(layer, clips, sizes, heads=4)
        own = tokens[len(tokens) // 2 :]
        torch.testing.assert_close(own, torch.stack(clips), atol=1e-5, rtol=1e-5)
        if sizes is not None:
            assert size is not None
            torch.testing.assert_close(size[len(size) // 2 :, :, 0], torch.tensor(sizes))


def test_without_merging_a_video_is_the_mean_of_its_normalised_pictures(model: nn.Module) -> None:
    """B and P at zero, no merging: CLIP's own image embeddings."""
    torch.manual_seed(0)
    clip = CLIPModel(models.config()).eval()
    frames = videos()
    pooled = clip.vision_model(pixel_values=frames.flatten(0, 1)).pooler_output
    pictures = functional.normalize(clip.visual_projection(pooled), dim=-1)
    expected = pictures.view(2, models.FRAMES, -1).mean(1)
    plain = TempMe(clip, UNMERGED, models.FRAMES).eval()
    torch.testing.assert_close(plain.encode_video(frames), expected, atol=1e-6, rtol=1e-5)


def test_a_text_is_clips_own() -> None:
    torch.manual_seed(0)
    clip = CLIPModel(models.config()).eval()
    tokens = torch.tensor([[models.WORDS - 2, 3, 0, 5, models.WORDS - 1, 0, 0]])  # 0 is a word, and the padding
    expected = clip.text_projection(clip.text_model(input_ids=tokens[:, :5]).pooler_output)
    mask = torch.tensor([[1, 1, 1, 1, 1, 0, 0]])
    found = TempMe(clip, UNMERGED, 2).encode_text(tokens, mask)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


def test_a_token_of_size_two_is_two_equal_tokens_of_size_one() -> None:
    attention = models.tempme().vision_model.encoder.layers[0].self_attn
    x = torch.randn(1, 5, 32)
    double = torch.cat([x, x[:, -1:]], 1)
    size = torch.tensor([1.0, 1, 1, 1, 2]).view(1, 5, 1)
    weighted, _ = attention(x, size)
    plain, _ = attention(double, None)
    torch.testing.assert_close(weighted, plain[:, :5], atol=1e-6, rtol=1e-6)


def test_joining_without_merging_only_regroups_the_tokens() -> None:
    regroup = models.tempme(Schedule((4,), (2,), (0, 0), 0))
    x = entering(regroup, videos(1))
    tokens, _ = after_each_layer(regroup, x)[3]
    layer = regroup.vision_model.encoder.layers[4]
    found, *_ = layer._joined(tokens, None)
    own = tokens.view(2, 2, 37, 32)
    expected = torch.cat([own[:, :, :1].flatten(1, 2), own[:, :, 1:].flatten(1, 2)], 1)
    assert torch.equal(found, expected)


def test_frames_that_do_not_count_are_left_out_of_the_mean(model: nn.Module) -> None:
    frames = videos(1)
    vectors = model.encode_frames(frames)
    mask = torch.tensor([[1, 1, 0, 0]])
    torch.testing.assert_close(model.encode_video(frames, mask), vectors[:, :2].mean(1))
    assert torch.equal(model.encode_video(frames, torch.zeros(1, 4)), torch.zeros(1, 16))


@pytest.mark.parametrize("layers", [1, 3, None])
def test_the_token_of_every_patch_is_traced_through_all_layers(model: nn.Module, layers: int | None) -> None:
    """As many patches in each token as the sizes that the layers themselves count."""
    frames = videos(1)
    x, size = entering(model, frames), None
    with torch.no_grad():
        for layer in list(model.vision_model.encoder.layers)[:layers]:
            x, size = layer(x, size)
    assert size is not None
    tokens = token_of_patch(model, frames[0], layers)
    assert tokens.shape == (models.FRAMES, 36)
    counted = torch.bincount(tokens.flatten(), minlength=size.numel())
    step = model.plan.steps[-1 if layers is None else layers - 1]
    sizes = size[..., 0].clone()
    sizes[:, : step.classes_left] = 0  # class tokens hold no patch
    assert counted.tolist() == sizes.flatten().round().int().tolist()


def test_recomputing_blocks_gives_the_same_gradients() -> None:
    gradients = []
    for recompute in (False, True):
        model = models.adapted().train()
        if recompute:
            adapters.enable_checkpointing(model)
        model.encode_video(videos()).square().sum().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.requires_grad})
    vision = [name for name in gradients[0] if "vision" in name]
    assert len(vision) > 10
    for name in vision:
        torch.testing.assert_close(gradients[1][name], gradients[0][name])


def real(patch: int, preset: str, frames: int = 12, *, text: bool = True, **settings: int) -> nn.Module:
    words = {"num_attention_heads": 8}
    vision = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "patch_size": patch}
    config = CLIPConfig(text_config=words, vision_config=vision, projection_dim=512)
    with torch.device("meta"):
        model = TempMe(CLIPModel(config), Schedule.of({"preset": preset}), frames)
        return attach_section(model, AdapterSection.of({"preset": "tempme", **settings}, ["tempme"]), text=text)


@pytest.mark.parametrize(("patch", "preset"), [(32, "vit-b-32"), (16, "vit-b-16")])
def test_at_real_size_507648_numbers_in_51_tensors_train(patch: int, preset: str) -> None:
    model = real(patch, preset)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert (sum(map(torch.Tensor.numel, trained)), len(trained)) == (507_648, 51)
    plain = real(patch, "image")
    assert adapters.count(plain).trainable == 491_520


def test_with_the_text_tower_left_alone_311040_numbers_train() -> None:
    assert adapters.count(real(32, "vit-b-32", text=False)).trainable == 311_040


def test_each_tower_may_have_a_rank_of_its_own() -> None:
    assert adapters.count(real(32, "vit-b-32", text_r=4)).trainable == 311_040 + 196_608 // 2
    assert adapters.count(real(32, "vit-b-32", r=16, text_r=8)).trainable == 2 * 294_912 + 196_608 + 16_128


def test_costs_on_paper_are_the_published_ones() -> None:
    found = {}
    for patch, preset in ((32, "vit-b-32"), (32, "image"), (16, "vit-b-16"), (16, "image"), (16, "vit-b-32")):
        vision = CLIPConfig(vision_config={"hidden_size": 768, "intermediate_size": 3072, "patch_size": patch})
        plan = plan_of(vision.vision_config, Schedule.of({"preset": preset}), 12)
        cost = video_cost(vision.vision_config, plan, rank=0 if preset == "image" else 8)
        found[patch, preset] = (round(cost.total / 1e9, 1), cost.tokens)
    assert found == {
        (32, "vit-b-32"): (34.8, 97),
        (32, "image"): (52.9, 600),
        (16, "vit-b-16"): (121.6, 127),
        (16, "image"): (210.8, 2364),
        (16, "vit-b-32"): (161.6, 493),
    }
    text = CLIPConfig(projection_dim=512).text_config
    assert [text_cost(text, words) / 1e9 for words in (32, 77)] == pytest.approx([1.23, 3.0], rel=0.005)


def test_without_gradients_the_mlp_is_clips_own_to_rounding(model: nn.Module) -> None:
    """Where it stands, and with its factors in the products; with gradients and under autocast it is CLIP's own."""
    mlp, x = model.vision_model.encoder.layers[0].mlp, torch.randn(2, 7, 32)
    with torch.no_grad():
        expected, kept = mlp(x), x.clone()
        torch.testing.assert_close(feed_forward(mlp, x), expected, atol=1e-6, rtol=1e-5)
        assert torch.equal(x, kept)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(feed_forward(mlp, x), mlp(x))
    assert torch.equal(feed_forward(mlp, x), mlp(x))


def test_the_count_on_paper_is_what_torch_counts() -> None:
    """By `torch.utils.flop_counter`, which hooks every operation, within one percent."""
    from torch.utils.flop_counter import FlopCounterMode

    model = models.adapted(layers=5)
    vision = model.clip_config.vision_config
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.encode_video(videos(1))
    similarities = sum(flops for name, flops in counter.get_flop_counts()["Global"].items() if "bmm" in str(name))
    counted = (counter.get_total_flops() - similarities) / 2
    # The layers' LoRA computes x A once for each of q, k and v, which paper counts once.
    again = sum(2 * step.joined * step.attended * vision.hidden_size * 8 for step in model.plan.steps)
    paper = video_cost(vision, model.plan, dim=16)
    assert counted - again == pytest.approx(paper.total, rel=0.01)
    assert similarities / 2 == paper.matching  # counted apart
