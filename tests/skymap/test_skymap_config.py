"""Configurations: LSST's checksum, and what cannot be a skymap."""

import math
from dataclasses import replace

import pytest

from skydelta.errors import BadSkyMapError
from skydelta.skymap import CONFIGURATIONS, CellPatches, PlainPatches

DC2 = CONFIGURATIONS["DC2"]


def test_the_checksum_in_the_registry():
    """`hash` of skymap "DC2" in ap_verify_ci_dc2 (base64 Hl+oX+JCYGQmUo9fe42/Acuq/54=)."""
    assert DC2.sha1.hex() == "1e5fa85fe242606426528f5f7b8dbf01cbaaff9e"


def test_every_number_changes_the_checksum():
    changes = (
        {"num_rings": 121},
        {"pixel_scale": 0.21},
        {"tract_overlap": 0.02},
        {"rotation": 1.0},
        {"ra_start": 1.0},
        {"patches": PlainPatches((4000, 4000), 101)},
        {"patches": PlainPatches((4000, 4001), 100)},
        {"patches": CellPatches()},
        {"patches": CellPatches(cells_in_border=2)},
    )
    digests = {replace(DC2, **change).sha1 for change in changes}
    assert len(digests | {DC2.sha1}) == len(changes) + 1


def test_cells_make_the_patches():
    patches = CellPatches()
    assert patches.inner == (3000, 3000)
    assert patches.border == 200


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"num_rings": 0}, "number of rings"),
        ({"num_rings": 120.0}, "number of rings"),
        ({"num_rings": True}, "number of rings"),
        ({"num_rings": [[1] * 1000] * 1000}, "number of rings"),
        ({"num_rings": 2**31}, "number of rings"),
        ({"pixel_scale": 0.0}, "pixel_scale"),
        ({"pixel_scale": -0.2}, "pixel_scale"),
        ({"pixel_scale": math.nan}, "pixel_scale"),
        ({"pixel_scale": "0.2"}, "pixel_scale"),
        ({"tract_overlap": -0.1}, "tract_overlap"),
        ({"tract_overlap": 60.0}, "tract_overlap"),
        ({"rotation": math.inf}, "rotation"),
        ({"ra_start": 360.0}, "ra_start"),
        ({"projection": "STG"}, "only TAN"),
        ({"version": 2}, "version"),
        ({"version": None}, "version"),
    ],
)
def test_what_no_skymap_can_be(change, says):
    with pytest.raises(BadSkyMapError, match=says) as caught:
        replace(DC2, **change)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("kind", "numbers"),
    [
        (PlainPatches, ((4000,), 100)),
        (PlainPatches, (4000, 100)),
        (PlainPatches, ((4000, 0), 100)),
        (PlainPatches, ((4000, 4000), -1)),
        (PlainPatches, ((4000, 4000.0), 100)),
        (CellPatches, ((150, 140),)),
        (CellPatches, ((150, 150), -1)),
        (CellPatches, ((150, 150), 50, 0)),
        (CellPatches, ((150, 150), 50, 20, -1)),
    ],
)
def test_what_no_patches_can_be(kind, numbers):
    with pytest.raises(BadSkyMapError, match=r"skymap's (patch|cell|number)|cells are square"):
        kind(*numbers)
