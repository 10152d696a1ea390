"""Tracts and patches: the stack's own polygons, pixels, and how patches tile a tract."""

import base64
import gzip
import math
import sqlite3

import numpy as np
import pytest
from skymap_cases import sky_points

from skydelta import sphere
from skydelta.errors import NoOverlapError, NoSuchPatchError
from skydelta.io.footprints import Footprint, footprint_of
from skydelta.skymap import CONFIGURATIONS, CellPatches, PlainPatches, RingsSkyMap, SkyMapConfig

ARCSEC = math.radians(1 / 3600)
DC2 = RingsSkyMap(CONFIGURATIONS["DC2"])
CELLS = RingsSkyMap(CONFIGURATIONS["DC2_cells_v1"])
ROTATED = RingsSkyMap(SkyMapConfig(20, 10.0, 0.2, PlainPatches((300, 250), 10), rotation=33.0))

STACK_PATCHES = [
    (
        0,
        0,
        [
            (141.3404246641, -88.9329750428),
            (135.0, -88.8216941244),
            (128.6595753359, -88.9329750428),
            (135.0, -89.0573153128),
        ],
    ),
    (
        18937,
        7,
        [
            (149.0339965526, 89.0282773885),
            (158.1962854713, 89.1025614051),
            (153.4320839862, 89.2546984688),
            (143.1274285333, 89.1667309738),
        ],
    ),
    (
        9347,
        99,
        [
            (178.4260125522, -0.0771291385),
            (178.5926394212, -0.0771320746),
            (178.5926645888, 0.0894946416),
            (178.426044009, 0.0894912351),
        ],
    ),
    (
        4639,
        9,
        [
            (55.3279047209, -31.325426907),
            (55.5229536429, -31.3267542772),
            (55.5242996049, -31.1601315287),
            (55.3295869842, -31.1588127342),
        ],
    ),
]
"""(tract, patch, corners of its inner box in deg: lower right first, clockwise in pixels)."""


def largest_distance(vectors, polygon):
    """From any of some unit vectors to the nearest corner of a polygon, arcsec."""
    gaps = np.asarray(vectors)[:, None, :] - np.asarray(polygon)[None, :, :]
    return np.sqrt((gaps**2).sum(axis=2)).min(axis=1).max() / ARCSEC


@pytest.fixture(scope="module")
def registry(shared_data, tmp_path_factory):
    """Registry of ap_verify_ci_dc2, written by LSST's stack."""
    packed = shared_data / "lsst_metadata" / "ap_verify_ci_dc2_gen3.sqlite3.gz"
    if not packed.exists():
        pytest.skip(f"no {packed.name}")
    path = tmp_path_factory.mktemp("registry") / "gen3.sqlite3"
    path.write_bytes(gzip.decompress(packed.read_bytes()))
    connection = sqlite3.connect(path)
    yield connection
    connection.close()


def convex_polygon(region):
    """Unit vectors of a sphgeom ConvexPolygon: 'p', and the corners as little-endian doubles."""
    data = base64.b64decode(region)
    assert data[:1] == b"p"
    return np.frombuffer(data[1:], "<f8").reshape(-1, 3)


def test_polygons_of_a_real_registry(registry):
    name, digest, n_tracts, nx, ny = registry.execute("SELECT * FROM skymap").fetchone()
    config = CONFIGURATIONS[name]
    assert base64.b64decode(digest) == config.sha1
    skymap = RingsSkyMap(config)
    assert (len(skymap), skymap[0].n_patches) == (n_tracts, (nx, ny))
    tracts = registry.execute("SELECT id, region FROM tract").fetchall()
    patches = registry.execute("SELECT tract, id, cell_x, cell_y, region FROM patch").fetchall()
    assert len(tracts) == 1
    assert len(patches) == 4
    for number, region in tracts:
        assert largest_distance(convex_polygon(region), skymap[number].outline()) < 1e-6
    for number, sequential, x, y, region in patches:
        patch = skymap[number].patch((x, y))
        assert patch.sequential_index == sequential
        assert largest_distance(convex_polygon(region), patch.outline()) < 1e-6


@pytest.mark.parametrize(("tract", "number", "sky"), STACK_PATCHES)
def test_inner_boxes_as_the_stack_has_them(tract, number, sky):
    """Corners of patches of Rubin's skymap, computed by LSST's stack.

    From the PyPI package skymap-convert 0.1.1, whose 1 893 800 patches were all compared once:
    the largest difference was 8e-10 arcsec.
    """
    x_min, y_min, x_max, y_max = CELLS[tract].patch(number).inner_bbox
    x = np.array([x_max + 0.5, x_min - 0.5, x_min - 0.5, x_max + 0.5])
    y = np.array([y_min - 0.5, y_min - 0.5, y_max + 0.5, y_max + 0.5])
    np.testing.assert_allclose(CELLS[tract].sky_to_pixel(*np.transpose(sky)), (x, y), atol=1e-4)


@pytest.mark.parametrize("skymap", [DC2, CELLS, ROTATED], ids=["DC2", "cells", "rotated"])
def test_pixels_are_those_of_the_wcs(skymap):
    """At the poles as well, where the meaning of north hangs on FITS's default LONPOLE."""
    for ra, dec in zip(*sky_points(40), strict=True):
        tract = skymap.find_tract(ra, dec)
        expected = tract.wcs.wcs_world2pix(ra, dec, 0)
        np.testing.assert_allclose(tract.sky_to_pixel(ra, dec), expected, atol=1e-6)


@pytest.mark.parametrize("skymap", [DC2, CELLS, ROTATED], ids=["DC2", "cells", "rotated"])
@pytest.mark.parametrize("at", [(0.0, 90.0), (50.0, -90.0), (0.0, 3.0), (301.0, -62.0)])
def test_a_patchs_own_pixels(skymap, at):
    """Patch pixel + corner of its outer box = tract pixel; its outline is that of its image."""
    tract = skymap.find_tract(*at)
    patch = tract.patch((2, 1))
    x_min, y_min, _, _ = patch.outer_bbox
    sky = patch.wcs.wcs_pix2world([0.0, 1234.0], [0.0, 77.5], 0)
    expected = x_min + np.array([0.0, 1234.0]), y_min + np.array([0.0, 77.5])
    np.testing.assert_allclose(tract.wcs.wcs_world2pix(*sky, 0), expected, atol=1e-6)
    from_image = footprint_of(patch.wcs, patch.shape)
    mine = Footprint(patch.outline(), patch.pixel_scale)
    assert largest_distance(from_image.outline, mine.outline) < 1e-6
    assert mine.area == pytest.approx(from_image.area, rel=1e-9)
    assert mine.pixel_scale == pytest.approx(from_image.pixel_scale, rel=1e-9)


def test_corners_follow_the_pixels():
    tract = DC2[4639]
    x, y = tract.sky_to_pixel(*tract.corners())
    np.testing.assert_allclose(x, [-0.5, 27999.5, 27999.5, -0.5], atol=1e-6)
    np.testing.assert_allclose(y, [-0.5, -0.5, 27999.5, 27999.5], atol=1e-6)
    assert sphere.area(tract.outline()) > 0
    ra, dec = tract.patch((6, 3)).corners()
    x, y = tract.sky_to_pixel(ra, dec)
    np.testing.assert_allclose(x, [23899.5, 27999.5, 27999.5, 23899.5], atol=1e-6)
    np.testing.assert_allclose(y, [11899.5, 11899.5, 16099.5, 16099.5], atol=1e-6)


@pytest.mark.parametrize("skymap", [DC2, CELLS, ROTATED], ids=["DC2", "cells", "rotated"])
def test_inner_boxes_tile_the_tract(skymap):
    tract = skymap[100]
    _, _, x_max, y_max = tract.bbox
    owners = np.zeros(((y_max + 1) // 50, (x_max + 1) // 50), int)
    for patch in tract:
        x0, y0, x1, y1 = patch.inner_bbox
        owners[y0 // 50 : (y1 + 1) // 50, x0 // 50 : (x1 + 1) // 50] += 1
    assert (owners == 1).all()


def test_outer_boxes():
    """DC2's end with the tract; those made of cells do not."""
    plain, cells = DC2[4639], CELLS[4639]
    assert plain.n_patches == (7, 7)
    assert plain.patch((0, 3)).outer_bbox == (0, 11900, 4099, 16099)
    assert plain.patch((6, 6)).outer_bbox == (23900, 23900, 27999, 27999)
    assert plain.patch((3, 3)).shape == (4200, 4200)
    assert cells.n_patches == (10, 10)
    assert cells.patch((0, 9)).outer_bbox == (-200, 26800, 3199, 30199)
    assert {patch.shape for patch in cells} == {(3400, 3400)}


def test_patch_numbers_there_and_back():
    tract = RingsSkyMap(SkyMapConfig(9, 20.0, 0.1, PlainPatches((700, 1100), 5)))[3]
    nx, ny = tract.n_patches
    assert nx != ny
    assert [patch.sequential_index for patch in tract] == list(range(nx * ny))
    assert tract.patch(np.int64(nx + 2)).index == (2, 1)
    assert tract.patch_index(tract.sequential_index((2, 1))) == (2, 1)


@pytest.mark.parametrize("skymap", [DC2, CELLS, ROTATED], ids=["DC2", "cells", "rotated"])
def test_each_pixel_finds_its_patch(skymap):
    rng = np.random.default_rng(5)
    tract = skymap[321]
    _, _, x_max, y_max = tract.bbox
    for x, y in rng.uniform(-0.499, [x_max + 0.499, y_max + 0.499], (50, 2)):
        patch = tract.find_patch(*map(float, tract.wcs.wcs_pix2world(x, y, 0)))
        x0, y0, x1, y1 = patch.inner_bbox
        assert x0 - 0.5 <= x <= x1 + 0.5
        assert y0 - 0.5 <= y <= y1 + 0.5


@pytest.mark.parametrize("index", [49, -1, (7, 0), (0, -1), (0,), (1, 2, 3), 1.5, "0,0", None])
def test_no_such_patch(index):
    with pytest.raises(NoSuchPatchError, match="patch"):
        DC2[4639].patch(index)


def test_position_off_the_tract():
    tract = DC2[4639]
    beyond = tract.wcs.wcs_pix2world(-0.6, 100.0, 0)
    antipode = (tract.centre[0] + 180.0, -tract.centre[1])
    for position in (beyond, antipode):
        assert not tract.contains(*position)
        with pytest.raises(NoOverlapError, match="not on tract 4639"):
            tract.find_patch(*map(float, position))


def test_a_map_of_sixteen_tracts():
    """Tracts that reach 31 deg, corners 40 deg from their centres, hold their shares of the sky."""
    coarse = RingsSkyMap(SkyMapConfig(2, 600.0, 1.0, CellPatches((15, 15), 5, 10, 1)))
    assert len(coarse) == 16
    ra, dec = sky_points(300)
    numbers = coarse.find_tract_ids(ra, dec)
    for number, a, d in zip(numbers, ra, dec, strict=True):
        assert coarse[number].contains(a, d)
