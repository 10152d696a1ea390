"""AST and FITS forms of one WCS agree; TAN-SIP follows what is no FITS WCS."""

import pickle

import numpy as np
import pytest
from astropy.wcs import Sip
from scenes import tan_wcs

from skydelta.errors import CorruptFileError, UnsupportedError
from skydelta.io.afw.exposure_wcs import largest_offset, shifted
from skydelta.lsst.sip_fit import fit_tan_sip
from skydelta.lsst.sky_wcs import AstSkyWcs, FitsSkyWcs

SHAPE = (4176, 2048)


def sip_wcs():
    """0.2 arcsec per px with distortions of several px at the corners."""
    wcs = tan_wcs(SHAPE, rotation=30.0)
    a, b = np.zeros((2, 4, 4))
    a[2, 0], a[0, 2], a[1, 1], a[3, 0] = 3e-7, -2e-7, 4e-7, 2e-11
    b[2, 0], b[0, 2], b[1, 1], b[0, 3] = -1e-7, 5e-7, 2e-7, -3e-11
    wcs.wcs.ctype = ["RA---TAN-SIP", "DEC--TAN-SIP"]
    wcs.wcs.radesys = "ICRS"
    wcs.sip = Sip(a, b, None, None, wcs.wcs.crpix)
    wcs.wcs.set()
    return wcs


def positions(n=1000, seed=1):
    x, y = np.random.default_rng(seed).random((2, n))
    return x * SHAPE[1] + 300.0, y * SHAPE[0] - 200.0


@pytest.mark.parametrize("make", [lambda: tan_wcs(SHAPE), sip_wcs])
def test_ast_form_of_a_fits_wcs(make):
    wcs, xy0 = make(), (300, -200)
    ast, fits = AstSkyWcs.from_fits(wcs, xy0), FitsSkyWcs(wcs, xy0)
    x, y = positions()
    # 2e-9 deg are 7 microarcsec: the digits of the cards that AST is given.
    np.testing.assert_allclose(ast.pixel_to_sky(x, y), fits.pixel_to_sky(x, y), rtol=0, atol=2e-9)
    u, v = ast.sky_to_pixel(*ast.pixel_to_sky(x, y))
    np.testing.assert_allclose([u, v], [x, y], atol=2e-3)


def test_positions_keep_their_shape_and_ra_its_range():
    ast = AstSkyWcs.from_fits(tan_wcs(SHAPE, ra=359.99))
    ra, dec = ast.pixel_to_sky(np.zeros((3, 4)), np.zeros((3, 4)))
    assert ra.shape == dec.shape == (3, 4)
    assert ((ra >= 0) & (ra < 360)).all()
    assert np.shape(ast.pixel_to_sky(5.0, 6.0)[0]) == ()


def test_ast_wcs_can_be_pickled_after_use():
    ast = AstSkyWcs.from_fits(tan_wcs(SHAPE))
    before = ast.pixel_to_sky(10.0, 20.0)
    copy = pickle.loads(pickle.dumps(ast))
    assert copy == ast
    assert copy.pixel_to_sky(10.0, 20.0) == before


def test_frames_are_those_of_afw():
    frames = AstSkyWcs.from_fits(tan_wcs(SHAPE))._frames
    domains = [frames.getframe(i).Domain for i in range(1, frames.Nframe + 1)]
    assert domains == ["PIXELS", "IWC", "SKY"]
    assert (frames.Base, frames.Current) == (1, 3)
    assert frames.getframe(3).System == "ICRS"


def test_fk5_is_carried_over_to_icrs():
    wcs = tan_wcs(SHAPE)
    wcs.wcs.radesys, wcs.wcs.equinox = "FK5", 2000.0
    x, y = np.array([100.0]), np.array([200.0])
    icrs = wcs.pixel_to_world(x, y).icrs
    ra, dec = AstSkyWcs.from_fits(wcs).pixel_to_sky(x, y)
    assert np.hypot(ra - icrs.ra.deg, dec - icrs.dec.deg)[0] < 1e-3 / 3600
    assert largest_offset(wcs, AstSkyWcs.from_fits(wcs), SHAPE, (0, 0)) < 1e-3


@pytest.mark.parametrize("text", ["", "Begin nonsense", " Begin ZoomMap\n Nin = 2\n Zoom = 2\n"])
def test_text_that_is_no_wcs(text):
    with pytest.raises(CorruptFileError):
        AstSkyWcs(text).pixel_to_sky(0.0, 0.0)


@pytest.mark.parametrize(
    ("what", "instead"),
    [
        ("MapB =", "MapQ ="),
        ("Nin = 2", "Nio = 2"),
        ("Nframe = 3", "Nframe = 4"),
        ('Type = "TAN"', 'Typo = "TAN"'),
        ('Type = "TAN"', 'Type = "TAN'),
        ("PV1_3", "PV1_Z"),
        ("End WcsMap", "End WcsMop"),
        ("IsA Mapping", "Isa Mapping"),
        ("Naxes = 2", "# axes = 2"),
    ],
)
def test_damaged_text_does_not_reach_ast_s_crashes(what, instead):
    text = AstSkyWcs.from_fits(tan_wcs(SHAPE)).text
    assert what in text
    with pytest.raises(CorruptFileError, match="AST"):
        AstSkyWcs(text.replace(what, instead, 1)).pixel_to_sky(0.0, 0.0)


def test_sip_fit_is_exact_for_a_sip_wcs():
    wcs = sip_wcs()
    fitted, error, order = fit_tan_sip(lambda x, y: wcs.all_pix2world(x, y, 0), SHAPE)
    # About another point the mapping is a cubic divided by a plane: nearly, not quite a cubic.
    assert order <= 5
    assert error < 1e-4
    x, y = positions()
    x, y = x - 300.0, y + 200.0
    off = np.hypot(*(np.array(fitted.all_pix2world(x, y, 0)) - wcs.all_pix2world(x, y, 0)))
    assert off.max() * 3600 / 0.2 < 2e-4  # px


def test_sip_fit_says_how_wrong_it_is():
    wcs = tan_wcs(SHAPE)

    def wavy(x, y):
        return wcs.all_pix2world(x + 0.5 * np.sin(y / 60.0), y, 0)

    with pytest.raises(UnsupportedError, match=r"wrong by up to 0\.\d+ px"):
        fit_tan_sip(wavy, SHAPE)
    _, error, _ = fit_tan_sip(wavy, SHAPE, tolerance=1.0)
    assert 0.3 < error < 1.0


def test_shifted_grid():
    wcs = sip_wcs()
    moved = shifted(wcs, (100, 50))
    x, y = positions()
    there = moved.all_pix2world(x - 100, y - 50, 0)
    np.testing.assert_allclose(there, wcs.all_pix2world(x, y, 0), atol=1e-12)
