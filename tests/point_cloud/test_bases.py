from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from domains.point_cloud.data import world
from domains.point_cloud.model import bases, geometry
from domains.point_cloud.model.layers import BackboneConfig
from domains.point_cloud.model.masked_autoencoder import PointMAE
from domains.point_cloud.official.base import base
from domains.point_cloud.output import reconstruction
from suite.errors import InputError

SMALL = {"width": 24, "depth": 1, "heads": 2, "groups": 8, "group_size": 8, "points": 64, "batch": 2}


def test_own_clouds_become_a_base_and_what_cannot_is_named(tmp_path: Path) -> None:
    clouds = tmp_path / "clouds"
    clouds.mkdir()
    for number in range(3):
        np.save(clouds / f"{number}.npy", world.make("assembly", number, 100).points)
    (clouds / "broken.ply").write_text("hello")
    answer = base([clouds], out=tmp_path / "base", steps=2, **SMALL)
    assert answer["exit_code"] == 2 and "broken.ply" in answer["message"]
    net = bases.load_base_folder(tmp_path / "base", cls_dim=3)
    assert net.eval()(torch.randn(1, 64, 3)).shape == (1, 3)
    picture = np.asarray(Image.open(tmp_path / "base" / "reconstruction.png"))
    # Three clouds in rows, three panels each; what was rebuilt has a colour of its own.
    assert picture.shape[1] == 3 * reconstruction.SIZE
    assert ((picture.astype(int) - picture.mean(-1, keepdims=True)).max(-1) > 40).any()


def test_a_rebuilt_cloud_holds_what_was_shown_and_as_much_as_was_hidden() -> None:
    net = PointMAE(BackboneConfig(trans_dim=24, depth=1, num_heads=2, num_group=10, group_size=8, encoder_dims=24))
    clouds = geometry.unit_sphere(torch.randn(2, 64, 3))
    visible, made = reconstruction.rebuild(net.eval(), clouds)
    assert visible.shape == (2, 4 * 8, 3) and made.shape == (2, 6 * 8, 3)
    apart = torch.cdist(visible, clouds, compute_mode="donot_use_mm_for_euclid_dist").amin(-1)
    assert apart.max() < 1e-6


def test_without_clouds_there_is_no_base(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    for source, reason in (([], "no source"), ([tmp_path / "x.pth"], "is no file")):
        with pytest.raises(InputError, match=reason):
            base(source, out=tmp_path / "base")
    assert not (tmp_path / "base").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heads": 0}, "heads is 0"),
        ({"groups": 0}, "groups is 0"),
        ({"batch": 0}, "batch is 0"),
        ({"steps": 0}, "steps is 0"),
        ({"width": 25}, "width 25 is no multiple of heads 2"),
        ({"points": 4}, "points is 4; 8 are needed"),
    ],
)
def test_a_network_that_cannot_be_is_refused_before_clouds_are_read(change: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        base([tmp_path / "nowhere"], out=tmp_path / "base", **{**SMALL, **change})


def test_a_released_file_takes_no_settings_of_pre_training(tmp_path: Path) -> None:
    (tmp_path / "net.pth").write_bytes(b"")
    with pytest.raises(InputError, match="leave it out"):
        base([tmp_path / "net.pth"], out=tmp_path / "base", config=tmp_path / "pretrain.yaml")


def test_the_next_command_can_be_pasted(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", world.make("assembly", 1, 100).points)
    told = base([tmp_path / "a.npy"], out=tmp_path / "my base", steps=1, **SMALL)
    assert f"--base '{tmp_path / 'my base'}'" in told["message"]
