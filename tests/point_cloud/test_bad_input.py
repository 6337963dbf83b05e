"""Bad input of every kind that the readers' own tests leave: each is named with what was found and what is needed."""

import laspy
import numpy as np
import open3d
import pytest
import torch

from domains.point_cloud.data import clouds, sampling, world
from domains.point_cloud.data.datamodule import CloudSamples
from domains.point_cloud.data.datasets.cloud_set import CloudSet
from domains.point_cloud.model import attachments, bases
from domains.point_cloud.model.manifest import Stated as Settings
from domains.point_cloud.output.pictures import Drawing
from domains.point_cloud.output.viewer import write_page
from domains.point_cloud.predict import PointCloudClassifier
from domains.point_cloud.types import ClassificationQuery
from suite import adapters
from suite.errors import InputError
from tests.point_cloud.small import ARCHITECTURE, CLASSES, classifier, write_adapter


@pytest.fixture(scope="module")
def small():
    return classifier()


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"classes": 3}, "'classes' of 'domain' is 3, not a list"),
        ({"classes": [1, 2]}, r"'classes' of 'domain' is \[1, 2\], not a list of names"),
        ({"classes": ["mug"], "npoints": "many"}, "'npoints' of 'domain' is 'many', not a whole number"),
        ({"classes": ["mug"], "parts": ["mug"]}, "'parts' of 'domain'"),
        ({"classes": ["mug"], "parts": {"mug": 3}}, "'parts' of 'domain'"),
        ({"classes": ["mug"], "backbone": [1]}, "'backbone' of 'domain'"),
        ({"classes": ["mug"], "metrics": 3}, "'metrics' of 'domain'"),
        ({"classes": ["mug"], "up": 1}, "'up' of 'domain'"),
    ],
)
def test_a_manifest_with_something_else_where_an_object_stands(section, message):
    with pytest.raises(InputError, match=message) as caught:
        Settings.from_dict(section, "adapter/suite.json")
    assert str(caught.value).startswith("adapter/suite.json: ") and "\n" not in str(caught.value)


def points(count=300):
    return world.make("mug", 0, count).points


def write_las(path, scale=1e-4):
    las = laspy.LasData(laspy.LasHeader(point_format=0))
    las.header.scales = [scale] * 3
    las.x, las.y, las.z = points().T
    las.write(str(path))


def test_las_without_a_scale_or_cut_short(tmp_path):
    path = tmp_path / "scan.las"
    write_las(path)
    content = bytearray(path.read_bytes())
    content[131:155] = bytes(24)
    (tmp_path / "flat.las").write_bytes(content)
    with pytest.raises(InputError, match=r"flat.las: the LAS header has no scale"):
        clouds.read(tmp_path / "flat.las")
    (tmp_path / "short.las").write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"short.las: (truncated|damaged)"):
        clouds.read(tmp_path / "short.las")


def test_compressed_pcd_cut_short(tmp_path):
    cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(points()))
    open3d.io.write_point_cloud(str(tmp_path / "whole.pcd"), cloud, compressed=True)
    content = (tmp_path / "whole.pcd").read_bytes()
    assert b"binary_compressed" in content[:300]
    (tmp_path / "short.pcd").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"short.pcd: no point could be read \(300 announced\)"):
        clouds.read(tmp_path / "short.pcd")


def test_meshes_without_faces_are_clouds_with_a_note(tmp_path):
    path = tmp_path / "vertices.obj"
    path.write_text("".join(f"v {x} {y} {z}\n" for x, y, z in points(50)))
    cloud = clouds.read(path)
    assert len(cloud.points) == 50 and not cloud.sampled and "no faces" in cloud.notes[0]


def test_clouds_of_one_point_many_times(small):
    with pytest.raises(InputError, match="1 distinct points, 32 needed"):
        small(np.ones((400, 3)))
    with pytest.raises(InputError, match="all points coincide"):
        sampling.unit_sphere(np.ones((5, 3)) * 1e6)
    with pytest.raises(InputError, match="nothing to upsample"):
        small(np.ones((400, 3)), upsample=True)


def test_planes_and_lines_are_clouds_too(small):
    flat = points() * [1, 0, 1]
    line = np.linspace(0, 1, 300)[:, None] * [1.0, 2.0, 3.0]
    assert small(flat).label in CLASSES and small(line).label in CLASSES


def test_clouds_that_are_not_normalised_are_noted_or_refused():
    raw = PointCloudClassifier(classifier().model, Settings(CLASSES, 256, normalise=False))
    assert raw(points()).notices == ()
    assert "not normalised" in raw(points() * 50).notices[0]
    with pytest.raises(InputError, match=r"a coordinate is 40\d.*, and from 327.68 on patch orders wrap; normalise"):
        raw(points() * 10 + 400)


def test_las_files_are_told_to_be_z_up(small, tmp_path):
    write_las(tmp_path / "scan.las")
    assert any("--up z" in notice for notice in small(tmp_path / "scan.las").notices)
    assert not any("--up z" in notice for notice in small(tmp_path / "scan.las", up="z").notices)


@pytest.mark.parametrize(
    ("options", "reason"),
    [({"vote": 0}, "must be at least 1"), ({"top": 0}, "must be at least 1"), ({"up": "x"}, "choose y or z")],
)
def test_options_out_of_range(small, options, reason):
    with pytest.raises(InputError, match=reason):
        small(points(), **options)


def test_adapters_that_do_not_fit(tmp_path):
    base, adapter = write_adapter(tmp_path)
    with pytest.raises(InputError, match="names 2 classes and its head has 8 outputs"):
        PointCloudClassifier(bases.build(ARCHITECTURE), Settings(("a", "b")))
    with pytest.raises(InputError, match="does not name its base; give one with --base"):
        PointCloudClassifier.from_pretrained(str(adapter))
    net = attachments.attach(bases.load_base_folder(base, cls_dim=8), "linear")
    adapters.save(net, tmp_path / "bare")
    with pytest.raises(InputError, match="does not say its classes"):
        PointCloudClassifier.from_pretrained(str(tmp_path / "bare"), str(base))
    bases.save_base(bases.build(ARCHITECTURE), tmp_path / "other")
    with pytest.warns(UserWarning, match=r"was trained on.*other weights"):
        PointCloudClassifier.from_pretrained(str(adapter), str(tmp_path / "other"))
    with pytest.raises(InputError, match="was trained on"), adapters.strict_bases():
        PointCloudClassifier.from_pretrained(str(adapter), str(tmp_path / "other"))


def test_chunks_that_do_not_divide_the_patches():
    net = attachments.attach(bases.build(ARCHITECTURE), "pointgst", rank=4, local=12).eval()
    with pytest.raises(InputError, match="32 centres cannot be cut into chunks of 12"):
        PointCloudClassifier(net, Settings(CLASSES, 256))(points())


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        (None, "no part labels"),
        (np.zeros(20, dtype=np.int64), "20 labels for 30 points"),
        (np.full(30, 2), "part label 2 is outside the 2 known parts"),
    ],
)
def test_parts_that_do_not_fit_their_cloud(parts, reason):
    one = points(30).astype(np.float32)
    whole = CloudSet(("mug",), np.zeros(1, dtype=np.int64), ["a.ply"], lambda _: (one, parts), {"mug": ("body", "ear")})
    with pytest.raises(InputError, match=f"a.ply: .*{reason}"):
        CloudSamples(whole, 30, training=False, normalise=True, parts=True)[0]


def test_the_viewers_page_holds_everything_and_no_title_ends_its_script(tmp_path):
    shown = Drawing(points(), legend=("body", "handle"))
    text = write_page([("</script><b>", shown)], tmp_path / "viewer.html").read_text()
    assert text.count("</script>") == 2 and "http" not in text and '"count": 300' in text


@pytest.mark.parametrize(
    "option", [{"colour": "red"}, {"renderer": "none"}, {"up": "x"}, {"seed": -1}, {"seed": 2**63}]
)
def test_python_refuses_the_options_that_the_command_refuses(option):
    with pytest.raises(InputError, match=next(iter(option))):
        ClassificationQuery(**option)


def test_a_tensor_is_an_array_and_a_list_of_numbers_is_none(small):
    points = world.make("mug", 1, 300).points
    assert small(torch.from_numpy(points)).scores == small(points).scores
    for wrong in (points.tolist(), None):
        with pytest.raises(InputError, match=r"an input is a path, an array \(N, 3\) or a Cloud"):
            small(wrong)
