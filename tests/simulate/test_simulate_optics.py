import galsim
import numpy as np
import pytest

from skydelta.psf import sample_psf
from skydelta.simulate.optics import PSF_NODES, make_psf

SHAPE = (1024, 1024)


@pytest.fixture
def psf():
    return make_psf(np.random.default_rng(3), SHAPE, 0.8)


def test_constant_psf_has_the_asked_width():
    psf = make_psf(np.random.default_rng(3), SHAPE, 0.8, variable=False)
    fwhm, g1, g2 = psf.parameters([0.0, 1023.0], [500.0, 3.0])
    assert fwhm == pytest.approx([4.0, 4.0])
    assert np.ptp(g1) == 0
    assert np.ptp(g2) == 0


def test_variable_psf_varies_smoothly_by_some_percent(psf):
    axis = np.linspace(0, 1023, 30)
    fwhm, g1, _ = psf.parameters(*np.meshgrid(axis, axis))
    assert 0.01 < np.ptp(fwhm) / 4.0 < 0.25
    assert np.abs(np.diff(fwhm, axis=0)).max() < 0.02
    assert np.abs(g1).max() < 0.2


def test_stamp_is_a_drawn_star(psf):
    """Half a pixel off the node the stamp is what GalSim draws there, sub-pixel part and all."""
    image = galsim.ImageD(galsim.BoundsI(180, 220, 380, 420))
    fwhm, g1, g2 = psf.parameters(200.3, 399.6)
    star = galsim.Moffat(beta=psf.beta, fwhm=fwhm).shear(g1=g1, g2=g2)
    star.drawImage(image, scale=1.0, center=(200.3, 399.6))
    assert np.abs(psf.compute_image(200.3, 399.6) - image.array).max() < 2e-4 * image.array.max()


def test_stamps_hold_nearly_all_the_flux_and_are_centred(psf):
    stamp = psf.stamp(100.0, 900.0)
    assert 0.999 < stamp.sum() < 1.0
    offset = np.arange(41) - 20
    assert (stamp.sum(axis=0) * offset).sum() == pytest.approx(0.0, abs=1e-4)


def test_grid_of_stamps_interpolates_to_a_part_in_a_thousand(psf):
    grid = sample_psf(psf, SHAPE, PSF_NODES)
    x, y = np.array([85.0, 440.0, 930.0]), np.array([90.0, 600.0, 250.0])
    true = psf.stamps(x, y)
    assert np.abs(grid.stamps(x, y) - true).max() < 1.5e-3 * true.max()


def test_shifted_field_is_the_same_field(psf):
    assert psf.shifted(100, 50).stamp(20.0, 30.0) == pytest.approx(psf.stamp(120.0, 80.0))


def test_radius_leaves_the_wing_below_the_level(psf):
    counts, level = 1e7, 0.1
    radius = psf.radius(np.array([counts]), level)[0]
    profile = psf.profile(*psf.parameters(512.0, 512.0))
    edge = profile.withFlux(counts).xValue(galsim.PositionD(radius, 0.0))
    assert edge < 2 * level
