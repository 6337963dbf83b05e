import pytest
import torch
from PIL import Image

from domains.point_cloud.evaluation.evaluate import evaluate
from suite.errors import InputError
from suite.media import tsne
from tests.point_cloud.small import write_adapter


def clusters(count: int = 20) -> tuple[torch.Tensor, torch.Tensor]:
    """Three distant groups of features in 12 dimensions, in turn."""
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(3).repeat(count)
    return 8 * torch.eye(12)[labels] + 0.3 * torch.randn(3 * count, 12, generator=rng), labels


def test_neighbours_stay_neighbours_in_the_unit_square():
    features, labels = clusters()
    places = tsne.tsne(features)
    assert places.min() == 0 and places.max() == 1
    assert torch.equal(places, tsne.tsne(features))
    nearest = torch.cdist(places, places).fill_diagonal_(torch.inf).argmin(1)
    assert torch.equal(labels[nearest], labels)


def test_every_cloud_has_the_perplexity_that_was_asked_for():
    features, _ = clusters()
    shares = tsne.affinities(features, 5.0)
    assert torch.allclose(shares, shares.T) and shares.sum().item() == pytest.approx(1, abs=1e-6)
    # Neighbours of one cloud lie in its own group, more than five of them at a perplexity of five.
    assert ((shares > 1e-3 / len(shares)).sum(1) >= 5).all()
    wider = tsne.affinities(features, 15.0)
    assert torch.special.entr(wider).sum() > torch.special.entr(shares).sum()


def test_forty_classes_have_forty_looks():
    labels = torch.arange(40)
    figure = tsne.draw(torch.rand(40, 2), labels, [f"class {n}" for n in range(40)])
    looks = {(tuple(dots.get_facecolor()[0]), len(dots.get_paths()[0].vertices)) for dots in figure.axes[0].collections}
    assert len(looks) == 40


def test_features_of_an_evaluation_are_drawn(tmp_path):
    base, adapter = write_adapter(tmp_path)
    given = {"adapter": str(adapter), "base": str(base)}
    record = evaluate("shapes:test:8", features=True, out=tmp_path / "out", **given)
    assert str(tmp_path / "out" / "features.svg") in record["files"]
    assert Image.open(tmp_path / "out" / "features.png").size[0] > 400
    plain = evaluate("shapes:test:8", **given)
    assert plain["metrics"] == record["metrics"]
    for wrong, reason in (({}, "with --out"), ({"vote": 2, "out": tmp_path / "no"}, "leave out --vote")):
        with pytest.raises(InputError, match=reason):
            evaluate("shapes:test:8", features=True, **given, **wrong)
    assert not (tmp_path / "no").exists()


def test_three_clouds_are_too_few():
    with pytest.raises(InputError, match="at least 4 clouds, not 3"):
        tsne.tsne(torch.rand(3, 5))
