"""What the benchmark holds up as literal is the same model, and its counter of large tensors can count."""

from __future__ import annotations

import torch

from benchmarks import tracking
from domains.tracking.model.spmtrack import SpmTrack
from tests.tracking import small


@torch.no_grad()
def test_the_literal_step_is_the_model_and_makes_what_ours_does_not() -> None:
    model = small.attached(SpmTrack(small.SIZES, small.SETTINGS), alpha=4.0)
    literal = tracking.LiteralStep(model)
    templates, masks, crop = small.inputs(small.SETTINGS)
    pairs = [*zip(templates.unbind(1), masks.unbind(1), strict=True)]
    state = torch.randn(2, 1, 64)
    found = literal([pair[0] for pair in pairs], [pair[1] for pair in pairs], crop, state)
    ours = model.search(torch.cat([model.embed_template(*pair) for pair in pairs], 1), crop, state)
    torch.testing.assert_close(found.scores, ours.scores, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.state, ours.state, atol=1e-5, rtol=1e-5)
    layer = model.blocks[0].mlp.fc1
    x = torch.randn(20, 64)
    with tracking.Sized(20 * 256) as made:
        tracking.literal_branch(x, *tracking.parts_of(layer.experts(next(iter(layer.settings)))))
    assert made.found > 8
