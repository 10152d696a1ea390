"""All patches that an exposure touches: none missed, none too many."""

import numpy as np
import pytest
from astropy.io import fits

from skydelta import sphere
from skydelta.errors import InputError
from skydelta.simulate.astrometry import tan_wcs
from skydelta.skymap import CONFIGURATIONS, RingsSkyMap, SkyMapConfig

DC2 = RingsSkyMap(CONFIGURATIONS["DC2"])
CELLS = RingsSkyMap(CONFIGURATIONS["DC2_cells_v1"])
OLD = RingsSkyMap(SkyMapConfig(120, 0.2, 1 / 60, version=0))
NY, NX = 4000, 4072

CENTRES = [
    (57.08, -31.14),
    (0.0, 5.0),
    (359.93, -44.6),
    (10.0, 90.0),
    (200.0, 89.3),
    (77.0, -89.26),
    (0.02, -89.9),
    (56.303 + 0.86, -30.496 + 0.74),
]


def corners_of(wcs, nx=NX, ny=NY):
    edges = [-0.5, nx - 0.5, nx - 0.5, -0.5], [-0.5, -0.5, ny - 0.5, ny - 0.5]
    return wcs.all_pix2world(*edges, 0)


def keys(found):
    return {(tract.id, patch.index) for tract, patches in found for patch in patches}


def held(tracts, ra, dec):
    """Keys of all patches of some tracts whose outer boxes hold any of some points."""
    found = set()
    for tract in tracts:
        x, y = (np.floor(p + 0.5) for p in tract.sky_to_pixel(ra, dec))
        for patch in tract:
            x0, y0, x1, y1 = patch.outer_bbox
            if ((x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)).any():
                found.add((tract.id, patch.index))
    return found


@pytest.mark.parametrize("skymap", [DC2, CELLS, OLD], ids=["DC2", "cells", "version 0"])
@pytest.mark.parametrize("centre", CENTRES)
@pytest.mark.parametrize("angle", [0.0, 37.0])
def test_no_patch_of_an_exposure_is_missed(skymap, centre, angle):
    """A dense grid of its pixels, against the boxes of all tracts within 3 deg."""
    wcs = tan_wcs(*centre, ((NX - 1) / 2, (NY - 1) / 2), angle)
    listed = skymap.find_tract_patch_list(*corners_of(wcs))
    assert [tract.id for tract, _ in listed] == sorted({tract.id for tract, _ in listed})
    x, y = np.meshgrid(np.linspace(-0.49, NX - 0.51, 101), np.linspace(-0.49, NY - 0.51, 101))
    ra, dec = wcs.all_pix2world(x.ravel(), y.ravel(), 0)
    nearby = skymap._centre_vectors @ sphere.unit_vector(*centre) > np.cos(np.radians(3.0))
    expected = held([skymap[i] for i in np.flatnonzero(nearby)], ra, dec)
    assert expected <= keys(listed)
    # The grid is 40 px wide: what it does not meet can only be a corner of an overlap.
    assert len(keys(listed) - expected) <= 2


@pytest.mark.parametrize("skymap", [DC2, CELLS], ids=["DC2", "cells"])
def test_an_aligned_exposure_by_integer_arithmetic(skymap):
    """An image on the tract's own pixels: boxes meet or they do not, to a hundredth of a pixel."""
    tract = skymap[4639]
    rng = np.random.default_rng(3)
    edges = {edge for patch in tract for edge in patch.outer_bbox}
    for gap in (-0.01, 0.01):
        for _ in range(20):
            x0, y0 = (rng.choice(sorted(edges)) + side for side in (0.5, -0.5))
            x1, y1 = x0 + rng.integers(1, 9000), y0 + rng.integers(1, 9000)
            x0, y0, x1, y1 = x0 - gap, y0 - gap, x1 + gap, y1 + gap
            region = tract.wcs.wcs_pix2world([x0, x1, x1, x0], [y0, y0, y1, y1], 0)
            expected = {
                patch.index
                for patch in tract
                for a0, b0, a1, b1 in [patch.outer_bbox]
                if x0 < a1 + 0.5 and x1 > a0 - 0.5 and y0 < b1 + 0.5 and y1 > b0 - 0.5
            }
            found = keys(skymap.find_tract_patch_list(*region))
            assert {index for number, index in found if number == 4639} == expected


def test_margin_reaches_neighbours():
    """A point 30 px beyond the outer edge of a patch belongs to its list from 6 arcsec on."""
    tract = DC2[4639]
    sky = tract.wcs.wcs_pix2world([4099.5 + 30], [2000.0], 0)
    for margin, expected in ((0.0, {(1, 0)}), (5.9, {(1, 0)}), (6.1, {(0, 0), (1, 0)})):
        found = keys(DC2.find_tract_patch_list(*sky, margin=margin))
        assert {index for number, index in found if number == 4639} == expected


def test_the_far_side_of_the_sky_is_not_near():
    """With a margin wider than the tract, its antipode lies within reach of all four edges."""
    tract = DC2[4639]
    ra, dec = tract.centre[0] + 180.0, -tract.centre[1]
    antipode = sphere.polygon([ra, ra + 0.1, ra + 0.1], [dec, dec, dec + 0.1])
    assert tract.find_patches(antipode, margin=3599.0) == []


def test_patches_beyond_the_tracts_edge():
    """Cells reach 200 px beyond the tract: its box does not hold the point, its patch does."""
    tract = CELLS[4639]
    sky = tract.wcs.wcs_pix2world([-150.0], [1000.0], 0)
    assert not tract.contains(*sky)
    assert (4639, (0, 0)) in keys(CELLS.find_tract_patch_list(*sky))


@pytest.mark.parametrize("visit", [1176, 36494])
def test_detectors_of_real_exposures(shared_data, visit):
    """HSC: all patches under the corners and the centre of each CCD are in its list.

    A CCD is 4.2' x 11.4', a patch 11.8' wide with its borders: hardly more than a dozen touch.
    """
    path = shared_data / "lsst_metadata" / f"visitSummary_{visit}.fits.gz"
    if not path.exists():
        pytest.skip(f"no {path.name}")
    hsc = RingsSkyMap(CONFIGURATIONS["hsc_rings_v1"])
    table = fits.getdata(path, 1)
    assert len(table) == 103
    for row in table:
        ra, dec = row["raCorners"].astype(float), row["decCorners"].astype(float)
        if not np.isfinite(ra).all():
            continue
        listed = hsc.find_tract_patch_list(ra, dec)
        a, d = np.append(ra, ra.mean()), np.append(dec, dec.mean())
        tracts = {
            tract.id: tract for a1, d1 in zip(a, d, strict=True) for tract in hsc.tracts_at(a1, d1)
        }
        assert held(tracts.values(), a, d) <= keys(listed)
        assert len(keys(listed)) <= 16


def test_a_point_and_an_arc():
    point = [57.076576], [-31.143652]
    assert keys(DC2.find_tract_patch_list(*point)) == {(4639, (0, 0))}
    arc = DC2.find_tract_patch_list([50.0, 60.0], [-31.0, -31.0])
    assert {4635, 4639, 4641} <= {tract.id for tract, _ in arc}


def test_a_region_larger_than_tracts():
    """A cap of 5 deg about the pole: every patch whose centre lies well inside is listed."""
    ra = np.arange(0.0, 360.0, 10.0)
    listed = keys(DC2.find_tract_patch_list(ra, np.full(ra.size, 85.0)))
    ids = [i for i in range(len(DC2)) if DC2[i].centre[1] > 86.0]
    inside = {(i, patch.index) for i in ids for patch in DC2[i] if patch.corners()[1].min() > 85.1}
    assert len(inside) > 1000
    assert inside <= listed


def test_either_sense_of_rotation():
    ra, dec = corners_of(tan_wcs(57.08, -31.14, ((NX - 1) / 2, (NY - 1) / 2)))
    assert DC2.find_tract_patch_list(ra, dec) == DC2.find_tract_patch_list(ra[::-1], dec[::-1])


@pytest.mark.parametrize(
    ("ra", "dec", "says"),
    [
        ([0, 1, 0, 1], [0, 0, 1, 1], "crosses itself"),
        ([0, 120, 240], [0, 0, 0], "hemisphere"),
        ([0, 180], [0, 0], "hemisphere"),
        ([np.nan, 1, 2], [0, 0, 1], "position on the sky"),
        ([0, 1], [0, 99], "position on the sky"),
        ([1, 2], [1], "as many RAs"),
        ([], [], "as many RAs"),
        (1.0, 2.0, "as many RAs"),
    ],
)
def test_no_region(ra, dec, says):
    with pytest.raises(InputError, match=says):
        DC2.find_tract_patch_list(ra, dec)


@pytest.mark.parametrize("margin", [-1.0, np.nan, np.inf])
def test_no_margin(margin):
    with pytest.raises(InputError, match="margin"):
        DC2.find_tract_patch_list([57.0], [-31.0], margin=margin)
