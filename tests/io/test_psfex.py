"""PSFEx models and other PSF side files."""

import numpy as np
import pytest
from astropy.io import fits

from skydelta.errors import BadPsfError, InputError
from skydelta.io.psfex import PsfexPsf, psf_from_hdus
from skydelta.psf import GridPsf

SIZE = 31


def gaussian(size, sigma):
    r = np.arange(size) - size // 2
    stamp = np.exp(-0.5 * (r**2 + r[:, None] ** 2) / sigma**2)
    return stamp / stamp.sum()


def model_table(components, degree=1, step=1.0, names=("X_IMAGE", "Y_IMAGE")):
    """A table as PSFEx writes it, positions counted from 1."""
    k, h, w = components.shape
    column = fits.Column(
        "PSF_MASK", f"{k * h * w}E", dim=f"({w},{h},{k})", array=components[None].astype("f4")
    )
    hdu = fits.BinTableHDU.from_columns([column], name="PSF_DATA")
    cards = {"POLNAME1": names[0], "POLNAME2": names[1], "POLDEG1": degree, "PSF_SAMP": step}
    cards |= {"POLZERO1": 101.0, "POLZERO2": 201.0, "POLSCAL1": 100.0, "POLSCAL2": 200.0}
    hdu.header.update(cards)
    return hdu


def test_basis_order_and_positions_from_one():
    """Components 1, u, v: the model at 0-based (100, 200) is the first alone."""
    base = gaussian(SIZE, 2.0)
    in_u = gaussian(SIZE, 3.0) - base
    in_v = gaussian(SIZE, 1.5) - base
    psf = psf_from_hdus([model_table(np.stack([base, in_u, in_v]))])
    np.testing.assert_allclose(psf.stamp(100, 200), base, atol=1e-7)
    np.testing.assert_allclose(psf.stamp(200, 200), base + in_u, atol=1e-7)
    np.testing.assert_allclose(psf.stamp(100, 400), base + in_v, atol=1e-7)


def test_many_positions_at_once():
    rng = np.random.default_rng(1)
    components = np.stack([gaussian(SIZE, s) for s in (2.0, 1.0, 3.0, 2.5, 1.5, 4.0)])
    psf = psf_from_hdus([model_table(components, degree=2)])
    x, y = rng.uniform(0, 400, (2, 7))
    together = psf.stamps(x, y)
    alone = np.stack([psf.stamp(*at) for at in zip(x, y, strict=True)])
    np.testing.assert_allclose(together, alone, atol=1e-12)
    np.testing.assert_allclose(together.sum(axis=(1, 2)), 1.0)
    u, v = (x - 100) / 100, (y - 200) / 200
    terms = np.stack([u**0, u, u**2, v, u * v, v**2])
    expected = np.tensordot(terms.T, components, axes=1)
    expected /= expected.sum(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(together, expected, atol=1e-7)


@pytest.mark.parametrize("step", [0.5, 0.7, 1.5])
def test_sampling_step(step):
    """A Gaussian sampled finer or coarser comes out as the same Gaussian in image pixels."""
    sigma = 2.5
    n = int(41 / step) | 1
    psf = PsfexPsf(gaussian(n, sigma / step)[None], 0, (0, 0), (1, 1), step)
    expected = gaussian(psf.size, sigma)
    assert psf.size % 2 == 1
    np.testing.assert_allclose(psf.stamp(0, 0), expected, atol=2e-3 * expected.max())


def test_columns_instead_of_cards():
    """The merged tables of the Legacy Surveys hold one row per CCD."""
    components = np.stack([gaussian(SIZE, s) for s in (2.0, 1.0, 3.0)])
    rows = np.stack([components, 2 * components[::-1]])
    columns = [
        fits.Column("ccdname", "4A", array=["N4", "S1"]),
        fits.Column("psf_mask", f"{rows[0].size}E", dim=f"({SIZE},{SIZE},3)", array=rows),
    ]
    columns += [
        fits.Column(name, "D", array=np.full(2, value))
        for name, value in {
            "polzero1": 101.0,
            "polzero2": 201.0,
            "polscal1": 100.0,
            "polscal2": 200.0,
            "psf_samp": 1.0,
        }.items()
    ]
    columns += [fits.Column("poldeg1", "J", array=[1, 1])]
    columns += [
        fits.Column(f"polname{i}", "8A", array=[f"{a}_IMAGE"] * 2) for i, a in ((1, "X"), (2, "Y"))
    ]
    hdu = fits.BinTableHDU.from_columns(columns)
    psf = psf_from_hdus([hdu], ccd=["S1"])
    np.testing.assert_allclose(psf.stamp(100, 200), components[2], atol=1e-7)
    with pytest.raises(InputError, match="2 rows"):
        psf_from_hdus([hdu], ccd=["N31"])


def test_model_of_something_else_than_position():
    with pytest.raises(BadPsfError, match="MAG_AUTO"):
        psf_from_hdus([model_table(np.zeros((3, 5, 5)), names=("MAG_AUTO", "Y_IMAGE"))])


def test_degree_must_fit_the_components():
    with pytest.raises(BadPsfError, match="needs 6"):
        psf_from_hdus([model_table(np.ones((3, 5, 5)), degree=2)])


def test_missing_card():
    hdu = model_table(np.ones((3, 5, 5)))
    del hdu.header["POLSCAL2"]
    with pytest.raises(BadPsfError, match="POLSCAL2"):
        psf_from_hdus([hdu])


def test_plain_image_is_a_constant_psf():
    psf = psf_from_hdus([fits.PrimaryHDU(5 * gaussian(SIZE, 2.0))])
    assert isinstance(psf, GridPsf)
    np.testing.assert_allclose(psf.stamp(3, 4), gaussian(SIZE, 2.0), atol=1e-12)


@pytest.mark.parametrize("data", [np.ones((4, 4)), np.ones((3, 5, 5)), np.zeros((5, 5))])
def test_images_that_are_no_psf(data):
    with pytest.raises(BadPsfError):
        psf_from_hdus([fits.PrimaryHDU(data)])


def test_file_without_a_psf():
    with pytest.raises(InputError, match="neither"):
        psf_from_hdus([fits.PrimaryHDU()])
