"""Colour, normals and intensity beside the places of points: read, trained on, predicted with."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from domains.point_cloud.data import world
from domains.point_cloud.data.channels import layout, values_of
from domains.point_cloud.data.datamodule import PointCloudData
from domains.point_cloud.data.datasets.cloud_set import Options
from domains.point_cloud.data.sources import open_set
from domains.point_cloud.evaluation import scoring
from domains.point_cloud.evaluation.calibrate import calibrate
from domains.point_cloud.model import bases
from domains.point_cloud.predict import PointCloudClassifier
from suite import adapters, training
from suite.errors import InputError
from suite.hub import paths
from tests.point_cloud import rooms
from tests.point_cloud.small import ARCHITECTURE
from tests.point_cloud.test_scenes import scene_segmenter


def test_values_come_at_one_scale_under_any_name():
    grey = np.array([0, 51, 255], dtype=np.uint8)
    fields = {"Red": grey, "G": grey, "diffuse_blue": grey, "normal_x": grey / 255, "ny": grey * 0.0, "nz": -grey / 255}
    eight = values_of(fields, layout(["colour"]))
    assert np.allclose(eight, np.array([[0, 0, 0], [0.2] * 3, [1, 1, 1]]))
    sixteen = {name: grey.astype(np.uint16) * 257 for name in ("red", "green", "blue")}
    assert np.allclose(values_of(sixteen, layout(["colour"])), eight)
    assert np.allclose(values_of({"r": grey / 255, "g": grey / 255, "b": grey / 255}, layout(["colour"])), eight)
    normals = values_of(fields, layout(["normal"]), up="z")
    assert np.allclose(normals, np.stack([grey * 0, -grey / 255, grey / 255], 1))  # as places: y, z, x
    dark = np.array([3, 200], dtype=np.uint16)
    assert np.allclose(values_of({"intensity": dark}, ["intensity"])[:, 0], dark / 65_535)
    with pytest.raises(InputError, match="no field blue of each point"):
        values_of({"red": grey, "green": grey}, layout(["colour"]))
    with pytest.raises(InputError, match="'heat'; choose from colour, normal, intensity"):
        layout(["heat"])


def write_coloured(path: Path, seed: int, red: bool) -> None:
    """A chair that is red or blue, as CSV."""
    points = world.make("chair", seed, 150).points
    colour = np.tile((200, 30, 20) if red else (20, 30, 200), (150, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "\n".join(",".join(map(str, row)) for row in np.column_stack([points, colour]).tolist())
    path.write_text("x,y,z,red,green,blue\n" + text + "\n")


@pytest.fixture(scope="module")
def coloured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Chairs whose class is their colour, and an adapter that was trained on them."""
    folder = tmp_path_factory.mktemp("coloured")
    for number in range(12):
        for name in ("blue", "red"):
            write_coloured(folder / "mine" / name / f"{number}.csv", number, name == "red")
    torch.manual_seed(0)
    base = bases.save_base(bases.build(ARCHITECTURE), folder / "base")
    config = training.load_config(paths.assets() / "configs" / "point_cloud" / "tiny.yaml")
    data = {**config.data, "train": f"{folder}/mine:train", "val": f"{folder}/mine:val", "npoints": 128}
    data |= {"inputs": ["colour"], "batch_size": 8}
    config = dataclasses.replace(
        config,
        base=str(base),
        data=data,
        recipe={**config.recipe, "adapter": {"preset": "pointgst", "rank": 4, "local": 16}},
        trainer=dataclasses.replace(config.trainer, max_epochs=12, val_every=12.0, lr=5e-3),
    )
    training.run(config, run_dir=folder / "run")
    return folder


def test_what_colour_alone_tells_is_learnt_and_found_again(coloured: Path, tmp_path: Path):
    adapter, base = str(coloured / "run" / "adapter"), str(coloured / "base")
    stated = adapters.read_manifest(adapter)["domain"]
    assert stated["inputs"] == ["red", "green", "blue"] and stated["backbone"]["channels"] == 3
    classifier = PointCloudClassifier.from_pretrained(adapter, base)
    for number, name in enumerate(("red", "blue")):
        write_coloured(tmp_path / f"{name}.csv", 500 + number, name == "red")
    assert [result.label for result in classifier.predict([tmp_path])] == ["blue", "red"]
    [bare] = classifier.predict([world.make("chair", 1, 150).points])
    assert "no field red of each point" in bare.error
    assert classifier(tmp_path / "red.csv", vote=3).label == "red"
    scored = scoring.score(f"{coloured}/mine:test", adapter, base)
    assert scored.metrics["overall accuracy"] == 1.0
    record = calibrate(f"{coloured}/mine:val", adapter=adapter, base=base)
    assert np.isfinite(record["known_from"])


def test_a_base_that_has_seen_places_alone_starts_as_it_was():
    torch.manual_seed(0)
    plain = bases.build(ARCHITECTURE)
    seen = bases.build({**ARCHITECTURE, "channels": 3})
    state = {key: value for key, value in plain.state_dict().items() if "cls_" not in key}
    bases.load_base(seen, state)
    clouds = torch.randn(2, 64, 3)
    patches, centers = seen.group(torch.cat([clouds, torch.rand(2, 64, 3)], -1))
    wanted = plain.group(clouds)
    assert torch.equal(centers, wanted[1]) and torch.equal(patches[..., :3], wanted[0]) and patches.shape[-1] == 6
    found, expected = (net.eval().summary(*given) for net, given in ((seen, (patches, centers)), (plain, wanted)))
    assert torch.allclose(found, expected, atol=1e-5)
    with pytest.raises(InputError, match="point_gpt sees places alone"):
        bases.build({**ARCHITECTURE, "class": "point_gpt", "channels": 3})


def test_scenes_have_their_colours_at_evaluation_as_at_prediction(tmp_path: Path):
    folder = rooms.write(tmp_path, {1: 2, 5: 1}, density=60)
    assert open_set(f"{folder}:train", Options(inputs=layout(["colour"]))).load(0)[0].shape[1] == 6
    segmenter = scene_segmenter(inputs=layout(["colour"]), channels=3)
    table = np.load(next(folder.glob("Area_5_*")))
    (tmp_path / "room.csv").write_text(
        "x,y,z,red,green,blue\n" + "\n".join(",".join(map(str, row)) for row in table[:, :6].tolist()) + "\n"
    )
    found = segmenter(tmp_path / "room.csv", up="z", passes=1).labels
    scored = scoring.segmentation(segmenter, open_set(f"{folder}:test", Options(inputs=layout(["colour"]))), passes=1)
    assert scored.metrics["overall accuracy"] == pytest.approx(float((found == table[:, 6]).mean()), abs=2e-4)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"inputs": ["colour"]}, "made shapes have places alone"),
        ({"inputs": ["normal"], "augment": "rotate"}, "would turn places without their normals"),
        ({"inputs": ["colour", "colour"]}, "name each once"),
    ],
)
def test_what_cannot_be_seen_is_refused_before_training(settings: dict, reason: str):
    with pytest.raises(InputError, match=reason):
        PointCloudData(train="shapes:train:16", val=None, npoints=64, **settings).setup("fit")
