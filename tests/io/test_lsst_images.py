import json
import re

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.wcs import WCS

from skydelta.errors import (
    BadPsfError,
    BandMismatchError,
    CorruptFileError,
    InputError,
    NoWcsError,
)
from skydelta.io.reader import read_exposure
from skydelta.psf import GridPsf

SHAPE = (60, 50)
X0, Y0 = 1000, 2000
PLANES = ("BAD", "SATURATED", "COSMIC_RAY", "NO_DATA", "DETECTION_EDGE", "INTERPOLATED", "ITL_DIP")
GAUSSIAN = {
    "schema_url": "https://images.lsst.io/schemas/gaussian_psf-1.0.0",
    "sigma": 2.0,
    "stamp_size": 21,
    "bounds": {"y": {"start": Y0, "stop": Y0 + 60}, "x": {"start": X0, "stop": X0 + 50}},
}
OBSERVATION = {
    "instrument": "LSSTCam",
    "visit_id": 2025052300201,
    "detector_num": 118,
    "physical_filter": "i_39",
    "datetime_begin": [2460820.0, -0.25],
    "datetime_end": [2460820.0, -0.2496527777777778],
    "exposure_time": 30.0,
}


def sky():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval = 55.0, -31.0
    wcs.wcs.crpix = 20.0, 30.0
    wcs.wcs.cd = [[-5.5e-5, 0.0], [0.0, 5.5e-5]]
    return wcs


def pixels(seed=1):
    rng = np.random.default_rng(seed)
    return rng.normal(10.0, 3.0, SHAPE).astype(np.float32)


def tree(psf=GAUSSIAN, **members):
    members = {"psf": psf, "band": "i", "obs_info": OBSERVATION} | members
    content = {"min_read_version": 1, "schema_version": "1.1.0", **members}
    return {key: value for key, value in content.items() if value is not None}


def mask_hdus(planes):
    """One HDU per 31 planes; pixel (n, n) belongs to plane n."""
    hdus = []
    for part in range(0, len(planes), 31):
        data = np.zeros(SHAPE, np.int32)
        names = planes[part : part + 31]
        for bit in range(len(names)):
            data[part + bit, part + bit] |= 1 << bit
        hdu = fits.CompImageHDU(data, name="MASK", compression_type="GZIP_2")
        for bit, name in enumerate(names):
            hdu.header[f"MSKN{bit:04d}"] = name
            hdu.header[f"MSKM{bit:04d}"] = 1 << bit
            hdu.header[f"MSKD{bit:04d}"] = f"says {name}"
        if part:
            hdu.header["EXTVER"] = part // 31 + 1
        hdus.append(hdu)
    return hdus


def image_hdu(name, data, unit="nJy", wcs=True):
    options = {"name": name, "compression_type": "GZIP_2", "quantize_level": 0.0}
    hdu = fits.CompImageHDU(data, **options)
    if unit:
        hdu.header["BUNIT"] = unit
    if wcs:
        hdu.header.update(sky().to_header())
    for i, start in ((1, X0), (2, Y0)):
        hdu.header[f"CTYPE{i}A"], hdu.header[f"CUNIT{i}A"] = "LINEAR", "PIXEL"
        hdu.header[f"CRPIX{i}A"], hdu.header[f"CRVAL{i}A"] = 1.0, float(start)
    return hdu


def write(
    path,
    content,
    *,
    schema="visit_image-1.1.0",
    planes=PLANES,
    unit="nJy",
    wcs=True,
    arrays=(),
    cards=(),
):
    """A file as lsst-images lays it out (its fits/_output_archive.py), its tree given."""
    primary = fits.PrimaryHDU()
    if schema:
        primary.header["FMTVER"] = 1
        primary.header["DATAMODL"] = f"https://images.lsst.io/schemas/{schema}"
    primary.header.update(cards)
    variance = np.full(SHAPE, 9.0, np.float32)
    hdus = [primary, image_hdu("IMAGE", pixels(), unit, wcs), *mask_hdus(planes)]
    hdus += [image_hdu("VARIANCE", variance, unit and f"{unit}2", wcs), *arrays]
    if content is not None:
        text = content if isinstance(content, bytes) else json.dumps(content).encode()
        rows = np.array([np.frombuffer(text, np.uint8), np.zeros(3, np.uint8)], object)
        column = fits.Column("JSON", "PB", array=rows)
        hdus.append(fits.BinTableHDU.from_columns([column], name="JSON"))
    fits.HDUList(hdus).writeto(path, overwrite=True)
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "visit.fits"


def test_a_visit_image_is_read(path):
    exposure = read_exposure(write(path, tree()))
    np.testing.assert_array_equal(exposure.image, pixels())
    np.testing.assert_array_equal(exposure.variance, np.full(SHAPE, 9.0))
    assert exposure.band == "i"
    assert exposure.exptime == 30.0
    # 2460820 - 0.25 d is MJD 60819.25; mid-exposure comes 15 s later.
    assert exposure.mjd == pytest.approx(60819.25 + 15.0 / 86400.0, abs=1e-9)
    assert exposure.meta["TIMESYS"] == "TAI"
    assert exposure.meta["CCDNUM"] == 118
    assert exposure.meta["PHYSFILT"] == "i_39"
    assert exposure.photo_calib.scale == 1.0
    x, y = exposure.wcs.all_world2pix(55.0, -31.0, 0)
    assert (float(x), float(y)) == (pytest.approx(19.0), pytest.approx(29.0))
    # The parent's pixel (X0, Y0) is the first one here.
    assert (exposure.meta["LTV1"][0], exposure.meta["LTV2"][0]) == (-X0, -Y0)


def test_planes_have_the_names_skydelta_knows(path):
    mask = read_exposure(write(path, tree())).mask
    names = ("BAD", "SAT", "CR", "NO_DATA", "EDGE", "INTRP", "ITL_DIP")
    for n, name in enumerate(names):
        assert np.argwhere(mask.any(name)).tolist() == [[n, n]], name
    assert mask.planes["SAT"] == 1


def test_more_planes_than_one_image_holds(path):
    planes = [*PLANES, *(f"P{i}" for i in range(40))]
    content = tree()
    write(path, content, planes=planes)
    with fits.open(path) as hdul:
        data = hdul["MASK", 2].data
        data[:] = 0
        data[5, 6] = 1 << 7  # plane 31 + 7 is P31
        first = hdul["MASK", 1].data
        first[7:, 7:] = 0
        hdul.writeto(path, overwrite=True)
    mask = read_exposure(path).mask
    assert np.argwhere(mask.any("P31")).tolist() == [[5, 6]]
    assert np.argwhere(mask.any("ITL_DIP")).tolist() == [[6, 6]]
    assert len(mask.planes) == 31


def test_too_many_planes_in_use_are_refused(path):
    planes = [f"P{i}" for i in range(45)]
    with pytest.raises(InputError, match=r"visit\.fits.*more than fit.*P44"):
        read_exposure(write(path, tree(), planes=planes))


def test_bits_without_a_name_are_refused(path):
    write(path, tree())
    with fits.open(path) as hdul:
        hdul["MASK"].data[0, 0] |= 1 << 12
        hdul.writeto(path, overwrite=True)
    with pytest.raises(InputError, match=r"bits 12.*MSKN"):
        read_exposure(path)


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
    from skydelta.io.psfex import PsfexPsf

    node, hdu, components = psfex([[X0 + 25.0, 50.0], [Y0 + 30.0, 60.0]])
    psf = read_exposure(write(path, tree(node), arrays=[hdu])).psf
    here = PsfexPsf(components.astype(float), 1, (25.0, 30.0), (50.0, 60.0), 0.5)
    at = [0.0, 25.0, 49.0], [0.0, 30.0, 59.0]
    np.testing.assert_allclose(psf.stamps(*at), here.stamps(*at), atol=1e-12)
    assert np.abs(psf.stamp(0, 0) - psf.stamp(49, 0)).max() > 1e-3


def test_a_psfex_context_that_misses_the_image_is_refused(path):
    # The two scales where the offsets should be.
    node, hdu, _ = psfex([[X0 + 25.0, Y0 + 30.0], [50.0, 60.0]])
    with pytest.raises(BadPsfError, match="misses the image"):
        read_exposure(write(path, tree(node), arrays=[hdu]))


def chebyshev(coefficients, unit=None):
    bounds = {
        "y": {"start": Y0 - 10, "stop": Y0 + 60},
        "x": {"start": X0, "stop": X0 + 100},
    }
    data = {"data": coefficients, "datatype": "float64"}
    return {"field_type": "CHEBYSHEV", "bounds": bounds, "coefficients": data, "unit": unit}


def test_a_constant_scaling_is_a_photometric_scale(path):
    scaling = {
        "field_type": "PRODUCT",
        "operands": [chebyshev([[2.0]]), chebyshev([[3.0]], "uJy / electron")],
    }
    write(path, tree(photometric_scaling=scaling), unit="electron")
    exposure = read_exposure(path)
    assert exposure.photo_calib.scale == pytest.approx(6000.0)
    np.testing.assert_array_equal(exposure.image, pixels())


def test_a_scaling_that_varies_is_applied(path):
    scaling = chebyshev([[2.0, 0.5], [0.25, 0.0]], "nJy / electron")
    write(path, tree(photometric_scaling=scaling), unit="electron")
    exposure = read_exposure(path)
    # T1 is -1 and 1 at the outer edges of the bounds: y from 1989.5 to 2059.5, x from 999.5.
    yy, xx = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(float)
    scale = 2.0 + 0.5 * ((xx + 0.5) / 50.0 - 1.0) + 0.25 * ((yy + 10.5) / 35.0 - 1.0)
    np.testing.assert_allclose(exposure.image, pixels() * scale, rtol=1e-6)
    good = ~exposure.mask.any("NO_DATA")
    np.testing.assert_allclose(exposure.variance[good], 9.0 * scale[good] ** 2, rtol=1e-6)
    assert exposure.photo_calib.scale == 1.0


def test_other_units(path):
    assert read_exposure(write(path, tree(), unit="uJy")).photo_calib.scale == pytest.approx(1e3)
    assert read_exposure(write(path, tree(), unit="electron")).photo_calib is None
    assert read_exposure(write(path, tree(), unit=None)).photo_calib is None
    spline = {"field_type": "SPLINE", "unit": "nJy / electron"}
    with pytest.raises(InputError, match="SPLINE"):
        read_exposure(write(path, tree(photometric_scaling=spline), unit="electron"))
    wrong = chebyshev([[1.0]], str(u.s))
    with pytest.raises(InputError, match="cannot be turned into nJy"):
        read_exposure(write(path, tree(photometric_scaling=wrong), unit="electron"))


def test_a_cutout_without_a_tree_is_read(path):
    exposure = read_exposure(write(path, None, schema=None), psf=GridPsf.constant(np.ones((3, 3))))
    np.testing.assert_array_equal(exposure.image, pixels())
    assert exposure.mask.any("SAT")[1, 1]
    assert exposure.photo_calib.scale == 1.0
    assert exposure.meta["LTV1"][0] == -X0


def test_other_objects_and_newer_formats_are_refused(path):
    with pytest.raises(InputError, match=r"visit\.fits.*color_image.*visit_image"):
        read_exposure(write(path, tree(), schema="color_image-1.0.0"))
    with pytest.raises(InputError, match="min_read_version is 2"):
        read_exposure(write(path, tree(min_read_version=2)))
    with pytest.raises(InputError, match="FMTVER is 2"):
        read_exposure(write(path, tree(), cards=[("FMTVER", 2)]))


def test_an_image_without_a_fits_projection_is_refused(path):
    content = tree(sky_projection={"pixel_to_sky": {}})
    with pytest.raises(NoWcsError, match="approximation"):
        read_exposure(write(path, content, wcs=False))


def test_an_approximate_projection_is_noted(path):
    content = tree(sky_projection={"fits_approximation": {"mappings": []}})
    assert any("approximation" in note for note in read_exposure(write(path, content)).notes)
    assert not read_exposure(write(path, tree())).notes


def test_the_band_of_the_table_must_be_that_of_the_file(path):
    write(path, tree())
    assert read_exposure(path, band="i", saturate=5e4).saturate == 5e4
    with pytest.raises(BandMismatchError, match=r"'r'.*'i'"):
        read_exposure(path, band="r")


def test_damaged_files_are_refused(path):
    with pytest.raises(CorruptFileError, match=r"visit\.fits.*JSON"):
        read_exposure(write(path, b'{"half": '))
    with pytest.raises(CorruptFileError, match="JSON table"):
        read_exposure(write(path, None))
    with pytest.raises(CorruptFileError, match="psf/sigma"):
        read_exposure(write(path, tree({"schema_url": GAUSSIAN["schema_url"]})))
    node, hdu = cell_psf()
    with pytest.raises(CorruptFileError, match="HDU PSF 1"):
        read_exposure(write(path, tree(node)))
    hdu.data = hdu.data[:1]
    with pytest.raises(CorruptFileError, match="shape"):
        read_exposure(write(path, tree(node), arrays=[hdu]))
    write(path, tree())
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(CorruptFileError):
        read_exposure(path)
