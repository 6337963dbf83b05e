"""Aspect-ratio buckets: which there are, which a photo gets, what is cut off, what a batch holds."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from domains.personalized_diffusion.data import buckets
from domains.personalized_diffusion.data.buckets import BucketBatches
from suite.errors import InputError


def test_buckets_are_as_large_as_the_square_allows() -> None:
    sizes = buckets.bucket_sizes(1024)
    assert (1024, 1024) in sizes and (832, 1216) in sizes and (1216, 832) in sizes
    for width, height in sizes:
        assert width % 64 == height % 64 == 0
        assert min(width, height) >= 512 and max(width, height) <= 2048
        assert width * height <= 1024**2 < (width + 64) * (height + 64)


def test_limits_that_leave_no_bucket_are_refused() -> None:
    with pytest.raises(InputError, match="no bucket fits"):
        buckets.bucket_sizes(256, shortest=512)


@pytest.mark.parametrize(
    ("size", "expected"), [((3000, 2000), (1216, 832)), ((2000, 3000), (832, 1216)), ((500, 500), (1024, 1024))]
)
def test_a_photo_gets_the_bucket_nearest_in_shape(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert buckets.choose(size, buckets.bucket_sizes(1024)) == expected


def test_a_small_photo_is_not_enlarged_where_that_is_not_wanted() -> None:
    sizes = buckets.bucket_sizes(1024)
    assert buckets.choose((700, 1300), sizes) == (768, 1344)
    assert buckets.choose((700, 1300), sizes, upscale=False) == (640, 1280)
    assert buckets.choose((20, 20), sizes, upscale=False) == (16, 16)
    assert buckets.choose((4000, 4000), sizes, upscale=False) == (1024, 1024)


def test_fit_covers_the_bucket_and_cuts_the_middle() -> None:
    image = Image.new("RGB", (300, 100), "black")
    image.paste((255, 255, 255), (100, 0, 200, 100))
    pixels, crop = buckets.fit(image, (64, 64))
    assert pixels.shape == (3, 64, 64)
    assert pixels.mean() > 0.95  # the white middle third
    assert crop.original == (100, 300) and crop.top == 0 and crop.left == 64


def test_a_random_cut_follows_its_generator() -> None:
    image = Image.effect_noise((200, 64), 80).convert("RGB")
    draws = [buckets.fit(image, (64, 64), crop="random", generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2)]
    assert torch.equal(draws[0][0], draws[1][0])
    assert draws[0][1].left != draws[2][1].left


def test_batches_hold_one_bucket_and_every_sample_once() -> None:
    sizes = [(64, 64)] * 5 + [(96, 48)] * 4 + [(48, 96)]
    sampler = BucketBatches(sizes, 2, seed=3)
    seen = []
    for batch in sampler:
        assert len({sizes[draw.index] for draw in batch}) == 1
        seen += [draw.index for draw in batch]
    assert sorted(seen) == list(range(10))


def test_batches_go_on_where_they_were_left() -> None:
    sizes = [(64, 64)] * 5 + [(96, 48)] * 4
    straight, stopped, resumed = (BucketBatches(sizes, 2, seed=3) for _ in range(3))
    whole = list(straight)
    half = iter(stopped)
    start = [next(half) for _ in range(2)]
    resumed.load_state_dict(stopped.state_dict())
    assert start + list(resumed) == whole
