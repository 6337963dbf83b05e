import numpy as np
import pytest

from domains.point_cloud.data import world
from suite.errors import InputError


@pytest.mark.parametrize("category", [*world.CATEGORIES, "assembly"])
def test_shapes_follow_from_their_seed_and_fill_the_unit_sphere(category):
    first, again, other = (world.make(category, seed, 300) for seed in (1, 1, 2))
    assert np.array_equal(first.points, again.points) and not np.array_equal(first.points, other.points)
    assert first.points.shape == (300, 3) and np.isclose(np.linalg.norm(first.points, axis=1).max(), 1)
    if category != "assembly":
        assert set(first.parts) <= set(range(len(world.CATEGORIES[category][0])))


@pytest.mark.parametrize(
    ("solid", "area"),
    [
        (world.box(1, 2, 3), 22.0),
        (world.frustum(1, 1, 2), 6 * np.pi),
        (world.frustum(1, 0, 1, caps="bottom"), np.pi * (1 + 2**0.5)),
        (world.ellipsoid(1, 1, 1), 4 * np.pi),
        (world.torus(2, 0.5), 4 * np.pi**2),
    ],
)
def test_areas_are_those_of_the_solids(solid, area):
    assert solid.area == pytest.approx(area, rel=0.02)


def test_a_cone_is_sampled_evenly_over_its_side():
    points = world.frustum(1, 0, 1, caps="none").draw(np.random.default_rng(0), 20_000)
    # Three quarters of a cone's side lie in its lower half.
    assert (points[:, 1] < 0.5).mean() == pytest.approx(0.75, abs=0.02)


def test_unknown_categories_are_refused_with_the_known_ones():
    with pytest.raises(InputError, match="choose from bucket"):
        world.make("sofa", 0)


@pytest.mark.parametrize("setting", [{"occluded": 0.6}, {"occluded": -0.1}, {"noise": -1.0}])
def test_more_than_half_of_a_shape_cannot_be_hidden(setting):
    assert len(world.make("mug", 0, 64, occluded=0.5).points) == 64
    with pytest.raises(InputError, match=r"give 0 to 0\.5"):
        world.make("mug", 0, 64, **setting)
