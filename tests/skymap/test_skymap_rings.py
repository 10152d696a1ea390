"""Which tract is where: LSST's own records, and the partition of the sky."""

import math

import numpy as np
import pytest
from skymap_cases import sky_points

from skydelta import sphere
from skydelta.errors import InputError, NoSuchPatchError
from skydelta.skymap import CONFIGURATIONS, PlainPatches, RingsSkyMap, SkyMapConfig

DC2 = RingsSkyMap(CONFIGURATIONS["DC2"])
COARSE = RingsSkyMap(SkyMapConfig(5, 30.0, 0.5, PlainPatches((500, 400), 20), ra_start=350.0))
"""44 large tracts; the first of each ring holds RA 350, and RA 0 falls within tracts."""

TUTORIAL = 57.076576, -31.143652


def test_the_tutorials_nearest_coadd():
    tract = DC2.find_tract(*TUTORIAL)
    assert tract.id == 4639
    np.testing.assert_allclose(tract.centre, (56.303317535545, -30.495867768595), atol=1e-11)
    np.testing.assert_allclose(tract.sky_to_pixel(*TUTORIAL), (2085.197, 2296.805), atol=5e-4)
    patch = tract.find_patch(*TUTORIAL)
    assert patch.index == (0, 0)
    assert patch.outer_bbox == (0, 0, 4099, 4099)


def test_size_of_the_published_skymaps():
    for config in CONFIGURATIONS.values():
        assert len(RingsSkyMap(config)) == 18938


def test_field_of_rubins_first_data():
    """Rubin's Data Preview 1 has the Extended Chandra Deep Field South on tract 5063."""
    assert RingsSkyMap(CONFIGURATIONS["lsst_cells_v1"]).find_tract(53.13, -28.10).id == 5063


@pytest.mark.parametrize("skymap", [DC2, COARSE], ids=["DC2", "coarse"])
def test_each_point_lies_in_the_range_and_in_the_box_of_its_tract(skymap):
    ra, dec = sky_points(3000)
    for a, d, number in zip(ra, dec, skymap.find_tract_ids(ra, dec), strict=True):
        tract = skymap[number]
        west, east, south, north = tract.sky_range
        assert south - 1e-12 <= d <= north + 1e-12
        assert (a - west) % 360.0 <= (east - west - 1e-12) % 360.0 + 2e-12
        assert tract.contains(a, d)


def test_shares_of_all_tracts_make_the_sky():
    """Exactly one tract for each point: the shares cover the sphere, and their sum is 4 pi."""
    area = sum(sphere.area(tract.inner_polygon(steps=256)) for tract in COARSE)
    assert area == pytest.approx(4.0 * math.pi, rel=1e-5)


def test_a_tracts_centre_belongs_to_it():
    numbers = np.arange(0, len(DC2), 7)
    centres = np.transpose([DC2[number].centre for number in numbers])
    np.testing.assert_array_equal(DC2.find_tract_ids(*centres), numbers)
    for tract in COARSE:
        assert COARSE.find_tract(*tract.centre) == tract


def test_overlap_reaches_beyond_each_share():
    """A point 0.49 deg outside a share, across any of its four edges, is still on the tract."""
    for tract in COARSE:
        west, east, south, north = tract.sky_range
        ra, dec = tract.centre
        for d in (south - 0.49, north + 0.49):
            assert abs(d) > 90.0 or tract.contains(ra, d)
        if abs(dec) < 90.0:
            step = 0.49 / math.cos(math.radians(dec))
            for a in (west - step, east + step):
                assert tract.contains(a, dec)


def test_poles_and_ra_zero():
    assert DC2.find_tract(123.0, -90.0).id == 0
    assert DC2.find_tract(0.0, 90.0).id == 18937
    first = DC2.find_tract(0.0, -30.0)
    assert first.sky_range[0] > first.sky_range[1]
    for ra in (-1e-9, 0.0, 1e-9, 360.0, 720.0):
        assert DC2.find_tract(ra, -30.0) == first
    np.testing.assert_array_equal(
        DC2.find_tract_ids([[10.0, 370.0]], [[5.0, 5.0]]), [[DC2.find_tract(10.0, 5.0).id] * 2]
    )


def test_start_of_the_rings():
    """A later start turns all rings, and leaves the caps."""
    turned = RingsSkyMap(SkyMapConfig(5, 30.0, 0.5, COARSE.config.patches, ra_start=20.0))
    ra, dec = sky_points(500)
    np.testing.assert_array_equal(
        turned.find_tract_ids(ra + 30.0, dec), COARSE.find_tract_ids(ra, dec)
    )


def test_tracts_at_a_point_are_those_whose_boxes_hold_it():
    for a, d in zip(*sky_points(60), strict=True):
        expected = [tract for tract in COARSE if tract.contains(a, d)]
        assert COARSE.tracts_at(a, d) == expected
        assert COARSE.find_tract(a, d) in expected


def test_version_zero_numbers_one_tract_twice_and_one_not_at_all():
    """LSST's DM-14809, as skymaps before 2018 have it: only the tracts at RA 0 are concerned."""
    old = RingsSkyMap(SkyMapConfig(120, 0.2, 1 / 60, version=0))
    ra, dec = sky_points(2000)
    new_ids = DC2.find_tract_ids(ra, dec)
    for a, d, number in zip(ra, dec, new_ids, strict=True):
        found = old.find_tract(a, d)
        if number in (0, len(DC2) - 1) or DC2[number].centre[0] > 0:
            assert found.centre == pytest.approx(DC2[number].centre, abs=1e-11)
            assert found.contains(a, d)
    first_ring = DC2._ring_lengths[0]
    assert old[1].centre == pytest.approx(old[first_ring + 1].centre)
    last_ring = len(DC2) - 1 - DC2._ring_lengths[-1]
    assert old.find_tract(*DC2[last_ring].centre).id == len(DC2) - 1
    assert all(old._centre_vectors[i] @ old[i]._axes[2] > 1 - 1e-12 for i in range(0, 18938, 97))


@pytest.mark.parametrize("number", [-1, 18938, 10**9, 1.5, "4639", None])
def test_no_such_tract(number):
    with pytest.raises(NoSuchPatchError, match="tract"):
        DC2[number]


def test_numbers_as_tables_have_them():
    assert DC2[np.int64(4639)].id == 4639
    assert isinstance(DC2.find_tract(*TUTORIAL).id, int)


@pytest.mark.parametrize("position", [(math.nan, 0), (0, math.nan), (math.inf, 0), (0, 90.001)])
def test_no_such_position(position):
    for method in (DC2.find_tract, DC2.tracts_at, DC2.find_tract_ids):
        with pytest.raises(InputError, match="position on the sky"):
            method(*position)
