"""Sources drawn with stamps of a PSF: against the same sources drawn from profiles."""

import galsim
import numpy as np
import pytest

from skydelta.psf import GridPsf, Psf
from skydelta.simulate.astrometry import detector_wcs
from skydelta.simulate.optics import make_psf
from skydelta.simulate.psfex_optics import psfex_model
from skydelta.simulate.render import draw_galaxies
from skydelta.simulate.sky import Galaxies
from skydelta.simulate.stamped import draw_galaxies as draw_galaxies_stamped
from skydelta.simulate.stamped import draw_points

SHAPE = (201, 221)
WCS = detector_wcs(55.0, -30.0, SHAPE, 30.0, np.random.default_rng(1))
FIELD = make_psf(np.random.default_rng(2), SHAPE, 0.8)


class Wide(Psf):
    """FIELD on stamps that hold its wings."""

    size = 121

    def stamps(self, x, y):
        values = np.column_stack(FIELD.parameters(np.asarray(x), np.asarray(y)))
        return np.array(
            [FIELD.profile(*v).drawImage(galsim.ImageD(121, 121), scale=1.0).array for v in values]
        )


def sky_of(x, y):
    return WCS.all_pix2world(np.atleast_1d(x), np.atleast_1d(y), 0)


def galaxies(x, y, index):
    n = len(x)
    shape = np.full(n, 0.6), np.full(n, index), np.full(n, 0.2), np.full(n, -0.1)
    return Galaxies(*sky_of(np.array(x), np.array(y)), {}, *shape)


def test_star_is_the_psf_at_its_place():
    psf = psfex_model(FIELD, SHAPE)
    image = np.zeros(SHAPE)
    draw_points(image, WCS, psf, *sky_of(90.3, 110.7), np.array([1e5]))
    stamps, x0, y0 = psf.images([90.3], [110.7])
    box = image[y0[0] : y0[0] + 41, x0[0] : x0[0] + 41]
    assert image.sum() == pytest.approx(1e5, rel=1e-4)
    assert np.abs(box / 1e5 - stamps[0]).max() < 1e-3 * stamps.max()


def test_star_on_the_edge_leaves_its_part():
    image = np.zeros(SHAPE)
    draw_points(
        image, WCS, GridPsf.constant(np.ones((5, 5)) / 25), *sky_of(0.0, 100.0), np.array([25.0])
    )
    assert image.sum() == pytest.approx(15.0, abs=0.2)
    assert image[98:103, :3] == pytest.approx(np.ones((5, 3)), abs=0.05)


@pytest.mark.parametrize(("index", "limit"), [(1, 2e-3), (4, 6e-3)])
def test_galaxies_are_those_of_the_profiles(index, limit):
    """One in the middle, one at the edge; the profiles' own renderer is good to a per mille."""
    places = galaxies([95.2, 1.0], [101.4, 60.3], index)
    counts = np.array([1e5, 6e4])
    drawn, expected = np.zeros(SHAPE), np.zeros(SHAPE)
    draw_galaxies_stamped(drawn, WCS, Wide(), places, counts, 20.0)
    draw_galaxies(expected, WCS, FIELD, places, counts, 20.0)
    assert np.abs(drawn - expected).max() < limit * expected.max()


def test_light_of_a_galaxy_far_away_is_left_out():
    image = np.zeros(SHAPE)
    psf = psfex_model(FIELD, SHAPE)
    draw_galaxies_stamped(image, WCS, psf, galaxies([-150.0], [100.0], 1), np.array([1e4]), 20.0)
    assert not image.any()


def test_components_sum_to_one_and_nothing():
    for model in ({"degree": 2}, {"degree": 1, "pixstep": 1.0, "width": 41}):
        sums = psfex_model(FIELD, SHAPE, **model).components.sum(axis=(1, 2), dtype=float)
        assert sums[0] == pytest.approx(1.0, abs=1e-6)
        assert np.abs(sums[1:]).max() < 1e-6


def test_model_follows_the_optics():
    psf = psfex_model(FIELD, SHAPE)
    for x, y in ((10.0, 20.0), (200.0, 180.0), (110.0, 100.0)):
        found, truth = psf.compute_shape(x, y), Wide().compute_shape(x, y)
        assert found.determinant_radius == pytest.approx(truth.determinant_radius, rel=3e-3)
        assert found.ixy == pytest.approx(truth.ixy, abs=0.01)
    middle = psf.size // 2
    assert np.abs(psf.stamp(110.0, 100.0)[0]).max() < 1e-6 * psf.stamp(110.0, 100.0)[middle].max()
