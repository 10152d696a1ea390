import re

import numpy as np
import pytest
from astropy.io import fits
from lsst_images_file import GAUSSIAN, X0, Y0, tree, write

from skydelta.errors import BadPsfError, CorruptFileError
from skydelta.io.reader import read_exposure
from skydelta.psf import GridPsf


@pytest.fixture
def path(tmp_path):
    return tmp_path / "visit.fits"


def test_the_gaussian_is_that_of_its_formula(path):
    psf = read_exposure(write(path, tree())).psf
    assert psf.size == 21
    stamps, x0, y0 = psf.images([20.3], [30.6])
    assert (x0[0], y0[0]) == (20 - 10, 31 - 10)
    yy, xx = np.mgrid[:21, :21]
    expected = np.exp(-((xx + x0[0] - 20.3) ** 2 + (yy + y0[0] - 30.6) ** 2) / 8.0)
    np.testing.assert_allclose(stamps[0], expected / expected.sum(), atol=1e-15)
    assert psf.compute_shape(5, 5).determinant_radius == pytest.approx(2.0, rel=1e-3)


def cell_psf(missing=()):
    """2 x 3 cells of 20 px, that begin at (990, 1990); the stamp's middle tells the cell."""
    array = np.zeros((2, 3, 5, 5))
    array[..., 2, 2] = 1.0
    for i in range(2):
        for j in range(3):
            array[i, j, 2, 3] = 0.1 * (3 * i + j)
    for i, j in missing:
        array[i, j] = np.nan
    grid_box = {"y": {"start": 1910, "stop": 2110}, "x": {"start": 950, "stop": 1150}}
    bounds = {
        "grid": {"bbox": grid_box, "cell_shape": {"y": 40, "x": 20}},
        "bbox": {"y": {"start": 1990, "stop": 2070}, "x": {"start": 990, "stop": 1050}},
        "missing": [],
    }
    node = {
        "schema_url": "https://images.lsst.io/schemas/cell_psf-1.0.0",
        "array": {"source": "fits:PSF", "shape": [2, 3, 5, 5], "datatype": "float64"},
        "bounds": bounds,
    }
    return node, fits.ImageHDU(array, name="PSF")


def test_every_cell_of_a_coadd_has_its_psf(path):
    node, hdu = cell_psf()
    content = tree(node, obs_info=None)
    write(path, content, schema="cell_coadd-1.0.0", arrays=[hdu])
    psf = read_exposure(path).psf
    # Cells end at x = 1010 and 1030, y = 2030 of the parent: 10, 30 and 30 here.
    x, y = [0, 9.4, 9.6, 29.4, 29.6, 0, 49], [0, 0, 0, 0, 0, 29.6, 59]
    stamps = psf.stamps(x, y)
    told = 10 * stamps[:, 2, 3] / stamps[:, 2, 2]
    np.testing.assert_allclose(told, [0, 0, 1, 1, 2, 3, 5], atol=1e-12)
    np.testing.assert_allclose(stamps.sum(axis=(1, 2)), 1.0)


def test_a_cell_without_a_psf_takes_that_of_its_neighbour(path):
    node, hdu = cell_psf(missing=[(0, 1)])
    write(path, tree(node), schema="cell_coadd-1.0.0", arrays=[hdu])
    psf = read_exposure(path).psf
    stamp = psf.stamp(20, 10)
    # The neighbours along x, cells 0 and 2, are nearer, 20 px, than cell 4 along y, 40 px.
    told = 10 * stamp[2, 3] / stamp[2, 2]
    assert min(abs(told - 0.0), abs(told - 2.0)) < 1e-12
    node, hdu = cell_psf(missing=[(i, j) for i in range(2) for j in range(3)])
    write(path, tree(node), schema="cell_coadd-1.0.0", arrays=[hdu])
    with pytest.raises(BadPsfError, match="no cell"):
        read_exposure(path)


GRID = 9
TERMS = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 0)]


def piff(keys, solution, **model):
    """Piff's members as the stack's files have them; `solution` is (81, n_terms)."""
    name = "galsim.Lanczos(5, True, gsparams=galsim.GSParams(128,8192))"
    model = {"type": "PixelGrid", "scale": 0.2, "size": GRID, "interp": name} | model
    source = {"source": "fits:PSF/SOLUTION[1]", "shape": list(solution.shape)}
    table = {"columns": [{"name": "q", "data": source | {"datatype": "float64"}}]}
    interp = {"type": "BasisPolynomial", "order": 2, "max_order": None, "keys": keys}
    node = {
        "schema_url": "https://images.lsst.io/schemas/piff_psf-1.0.0",
        "stamp_size": 11,
        "piff": {
            "structs": {"piff": {"type": "Simple"}},
            "objects": {
                "piff": {
                    "structs": {"model": model, "interp": interp},
                    "wcs": {"wcs": {"scale": 0.2, "wcs_type": "pixel_scale"}},
                    "objects": {"interp": {"tables": {"solution": {"table": table}}}},
                }
            },
        },
    }
    column = fits.Column("q", f"{solution.size}D", dim=str(solution.shape[::-1]), array=[solution])
    return node, fits.BinTableHDU.from_columns([column], name="PSF/SOLUTION")


def solution():
    rng = np.random.default_rng(4)
    yy, xx = np.mgrid[:GRID, :GRID] - GRID // 2
    core = np.exp(-0.5 * (xx**2 + yy**2 + 0.4 * xx * yy) / 1.5**2).ravel()
    terms = [core * (1.0 if i + j == 0 else rng.normal(0, 0.1, GRID**2)) for i, j in TERMS]
    return np.stack(terms, axis=1)


def galsim_star(grid, dx, dy, width):
    """The grid shifted by GalSim itself, as Piff draws it."""
    import galsim

    image = galsim.Image(np.ascontiguousarray(grid), scale=0.2)
    profile = galsim.InterpolatedImage(
        image, x_interpolant=galsim.Lanczos(5), use_true_center=False, flux=1.0
    )
    drawn = galsim.Image(width, width, dtype=float, scale=0.2)
    profile.drawImage(drawn, method="no_pixel", offset=(dx, dy))
    return drawn.array / drawn.array.sum()


@pytest.mark.parametrize(("keys", "unit"), [(["u", "v"], 0.2), (["x", "y"], 1.0)])
def test_piffs_pixel_grid_is_evaluated_as_piff_does(path, keys, unit):
    coefficients = solution()
    scaled = coefficients / np.array([(2000.0 * unit) ** (i + j) for i, j in TERMS])
    node, hdu = piff(keys, scaled)
    psf = read_exposure(write(path, tree(node), arrays=[hdu])).psf
    assert psf.size == 11
    x, y = 20.3, 30.6
    parent = (x + X0) / 2000.0, (y + Y0) / 2000.0
    grid = sum(
        coefficients[:, k] * parent[0] ** i * parent[1] ** j for k, (i, j) in enumerate(TERMS)
    ).reshape(GRID, GRID)
    np.testing.assert_allclose(psf.stamp(x, y)[1:-1, 1:-1], grid / grid.sum(), atol=1e-14)
    stamps, x0, y0 = psf.images([x], [y])
    assert (x0[0], y0[0]) == (20 - 5, 31 - 5)
    # GalSim tabulates its kernels to 1e-5.
    np.testing.assert_allclose(stamps[0], galsim_star(grid, 0.3, -0.4, 11), atol=2e-5)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"type": "Gaussian"}, "Gaussian"),
        ({"scale": 0.1}, "0.500 px"),
        ({"interp": "galsim.Quintic()"}, "Quintic"),
    ],
)
def test_other_piff_models_are_refused_with_the_reason(path, change, reason):
    node, hdu = piff(["u", "v"], solution(), **change)
    write(path, tree(node), arrays=[hdu])
    with pytest.raises(BadPsfError, match=rf"visit\.fits.*{re.escape(reason)}.*psf column"):
        read_exposure(path)


def test_a_piff_model_of_colour_is_refused(path):
    node, hdu = piff(["u", "v", "colorValue"], solution())
    with pytest.raises(BadPsfError, match="colorValue"):
        read_exposure(write(path, tree(node), arrays=[hdu]))


def test_a_psf_that_is_given_wins_over_one_that_cannot_be_read(path):
    node = {"schema_url": "https://images.lsst.io/schemas/other_psf-1.0.0"}
    write(path, tree(node))
    with pytest.raises(BadPsfError, match="other_psf"):
        read_exposure(path)
    known = GridPsf.constant(np.pad([[1.0]], 3))
    assert read_exposure(path, psf=known).psf is known


def psfex(context):
    rng = np.random.default_rng(2)
    yy, xx = np.mgrid[:25, :25] - 12
    core = np.exp(-0.5 * (xx**2 + yy**2) / 3.0**2)
    components = np.stack([core, 0.1 * core * xx / 5, 0.1 * core * yy / 5]).astype(np.float32)
    components += rng.normal(0, 1e-4, components.shape).astype(np.float32)
    node = {
        "schema_url": "https://images.lsst.io/schemas/psfex_psf-1.0.0",
        "pixel_step": 0.5,
        "degree": [1],
        "context": {"data": context, "datatype": "float64"},
        "parameters": {
            "source": "fits:PSF/PARAMETERS",
            "shape": [3, 25, 25],
            "datatype": "float32",
        },
        "bounds": GAUSSIAN["bounds"],
    }
    return node, fits.ImageHDU(components, name="PSF/PARAMETERS"), components


def test_a_psfex_model_is_evaluated_at_the_parents_positions(path):
    from skydelta.lsst.psfex_psf import PsfexPsf

    node, hdu, components = psfex([[X0 + 25.0, 50.0], [Y0 + 30.0, 60.0]])
    psf = read_exposure(write(path, tree(node), arrays=[hdu])).psf
    here = PsfexPsf(components, (1,), context=((25.0, 50.0), (30.0, 60.0)), pixstep=0.5)
    at = [0.0, 25.0, 49.0], [0.0, 30.0, 59.0]
    np.testing.assert_allclose(psf.stamps(*at), here.stamps(*at), atol=1e-6)
    assert np.abs(psf.stamp(0, 0) - psf.stamp(49, 0)).max() > 1e-3


def test_a_psfex_context_that_misses_the_image_is_refused(path):
    # The two scales where the offsets should be.
    node, hdu, _ = psfex([[X0 + 25.0, Y0 + 30.0], [50.0, 60.0]])
    with pytest.raises(BadPsfError, match="misses the image"):
        read_exposure(write(path, tree(node), arrays=[hdu]))


def test_arrays_that_are_not_as_the_tree_says_are_refused(path):
    node, hdu = cell_psf()
    with pytest.raises(CorruptFileError, match="HDU PSF 1"):
        read_exposure(write(path, tree(node)))
    hdu.data = hdu.data[:1]
    with pytest.raises(CorruptFileError, match="shape"):
        read_exposure(write(path, tree(node), arrays=[hdu]))
