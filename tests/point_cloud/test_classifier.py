import json

import numpy as np
import pytest

from domains.point_cloud.data import world
from suite.errors import InputError
from tests.point_cloud.small import CLASSES, classifier


@pytest.fixture(scope="module")
def small():
    return classifier()


def clouds(count=5, points=300):
    return [world.make(CLASSES[i % len(CLASSES)], i, points).points for i in range(count)]


def test_a_prediction_depends_on_its_cloud_alone(small):
    several = clouds()
    together = list(small.predict(several, top=8))
    for one, result in zip(several, together, strict=True):
        alone = small(one, top=8)
        assert alone.scores == pytest.approx(result.scores, abs=1e-5)
    turned = list(small.predict(several[::-1], top=8, batch_size=2))[::-1]
    assert all(a.scores == pytest.approx(b.scores, abs=1e-5) for a, b in zip(together, turned, strict=True))


def test_released_bases_are_predicted_one_by_one():
    released = classifier(basis="released")
    assert released.depends_on_companions and not classifier().depends_on_companions
    several = clouds(3)
    together = [result.scores for result in released.predict(several, top=8)]
    assert [released(one, top=8).scores for one in several] == together


def test_voting_is_repeatable_and_another_seed_votes_differently(small):
    [one] = clouds(1)
    first, again, other = (small(one, vote=3, seed=seed).scores for seed in (1, 1, 2))
    assert first == again != other


def test_broken_files_are_refused_by_name_and_the_others_go_on(small, tmp_path):
    for number, points in enumerate(clouds(2)):
        np.savetxt(tmp_path / f"good{number}.xyz", points)
    (tmp_path / "empty.ply").write_bytes(b"")
    (tmp_path / "few.csv").write_text("1,2,3\n4,5,6\n")
    (tmp_path / "same.txt").write_text("1 2 3\n" * 400)
    out = tmp_path / "out"
    found = {}
    for result in small.predict(sorted(tmp_path.iterdir()), out=str(out)):
        found[result.source.rsplit("/", 1)[1]] = result.error
        if result.error is None:
            assert {path.suffix for path in result.save(out)} == {".json", ".png"}
    assert [name for name, error in found.items() if error is None] == ["good0.xyz", "good1.xyz"]
    assert found["empty.ply"] == "the file is empty"
    assert found["few.csv"] == "cloud has 2 distinct points, 32 needed; use --upsample"
    assert "1 distinct points" in found["same.txt"]
    rows = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    assert len(rows) == 5 and rows[2]["label"] in CLASSES
    assert (out / "contact_sheet.png").is_file() and (out / "predictions.csv").read_text().count("\n") == 6


def test_few_points_are_upsampled_when_asked(small):
    few = clouds(1, points=20)[0]
    with pytest.raises(InputError, match="20 distinct points, 32 needed; use --upsample"):
        small(few)
    assert small(few, upsample=True).points_used >= 32


def test_features_are_those_of_the_head(small):
    assert small.features(clouds(1)[0]).shape == (48,)


@pytest.mark.parametrize("colour", ["height", "patches", "influence", "spectrum", "chunks"])
def test_every_shading_draws_the_cloud(small, tmp_path, colour):
    [result] = small.predict(clouds(1), out=tmp_path, colour=colour)
    drawn = result.drawing
    assert len(drawn.points) >= 300 and (drawn.colors is None or drawn.colors.shape == drawn.points.shape)
    assert colour == "height" or len(np.unique(drawn.colors, axis=0)) > 1


def test_without_a_display_view_writes_a_page(small, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    assert len(list(small.predict(clouds(2), view=True, out=tmp_path))) == 2
    assert (tmp_path / "viewer.html").read_text().count('"title"') == 2
    assert "viewer.html in a browser" in capsys.readouterr().err
