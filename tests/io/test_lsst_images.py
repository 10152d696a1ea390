import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from lsst_images_file import GAUSSIAN, OBSERVATION, PLANES, SHAPE, X0, Y0, pixels, tree, write

from skydelta.errors import (
    BandMismatchError,
    CorruptFileError,
    InputError,
    NoWcsError,
    UnsupportedError,
)
from skydelta.io.reader import read_exposure
from skydelta.psf import GridPsf


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
    assert exposure.xy0 == (X0, Y0)
    assert exposure.bbox == (X0, Y0, X0 + SHAPE[1] - 1, Y0 + SHAPE[0] - 1)


def test_planes_have_the_names_skydelta_knows(path):
    mask = read_exposure(write(path, tree())).mask
    names = ("BAD", "SAT", "CR", "NO_DATA", "EDGE", "INTRP", "ITL_DIP")
    for n, name in enumerate(names):
        assert np.argwhere(mask.any(name)).tolist() == [[n, n]], name
    assert mask.planes["SAT"] == 1


@pytest.mark.parametrize("value", [3, 0, "one"])
def test_a_plane_that_is_not_one_bit_is_refused(path, value):
    write(path, tree())
    with fits.open(path) as hdul:
        hdul["MASK"].header["MSKM0001"] = value
        hdul.writeto(path, overwrite=True)
    with pytest.raises(CorruptFileError, match=r"MSKM0001.*single bit"):
        read_exposure(path)


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


def test_a_scaling_that_is_not_positive_is_refused(path):
    scaling = chebyshev([[0.5, 1.0]], "nJy / electron")
    with pytest.raises(InputError, match="not positive"):
        read_exposure(write(path, tree(photometric_scaling=scaling), unit="electron"))


def test_other_units(path):
    assert read_exposure(write(path, tree(), unit="uJy")).photo_calib.scale == pytest.approx(1e3)
    assert read_exposure(write(path, tree(), unit="electron")).photo_calib is None
    assert read_exposure(write(path, tree(), unit=None)).photo_calib is None
    spline = {"field_type": "SPLINE", "unit": "nJy / electron"}
    with pytest.raises(UnsupportedError, match="SPLINE"):
        read_exposure(write(path, tree(photometric_scaling=spline), unit="electron"))
    wrong = chebyshev([[1.0]], str(u.s))
    with pytest.raises(InputError, match="cannot be turned into nJy"):
        read_exposure(write(path, tree(photometric_scaling=wrong), unit="electron"))


def test_a_cutout_without_a_tree_is_read(path):
    exposure = read_exposure(write(path, None, schema=None), psf=GridPsf.constant(np.ones((3, 3))))
    np.testing.assert_array_equal(exposure.image, pixels())
    assert exposure.mask.any("SAT")[1, 1]
    assert exposure.photo_calib.scale == 1.0
    assert exposure.xy0 == (X0, Y0)


def test_other_objects_and_newer_formats_are_refused(path):
    with pytest.raises(UnsupportedError, match=r"visit\.fits.*color_image.*visit_image"):
        read_exposure(write(path, tree(), schema="color_image-1.0.0"))
    with pytest.raises(UnsupportedError, match="min_read_version is 2"):
        read_exposure(write(path, tree(min_read_version=2)))
    with pytest.raises(UnsupportedError, match="FMTVER is 2"):
        read_exposure(write(path, tree(), cards=[("FMTVER", 2)]))


def poly_map(coefficients, powers):
    """AST's text of a polynomial of two variables: {(i, j): value} for each of its outputs."""
    lines = ["Begin PolyMap", "Nin = 2", "IsA Mapping"]
    lines += [f"MPF{i} = {max(p[i - 1] for p in powers)}" for i in (1, 2)]
    lines += [f"NCF{i} = {len(powers)}" for i in (1, 2)]
    count = len(powers)
    for output, values in enumerate(coefficients):
        for k, (value, (i, j)) in enumerate(zip(values, powers, strict=True), output * count + 1):
            lines += [f"CF{k} = {value!r}", f"PF{2 * k - 1} = {i}", f"PF{2 * k} = {j}"]
    return "\n".join([*lines, "End PolyMap"]) + "\n"


@pytest.fixture
def ast():
    """What follows AST mappings."""
    pytest.importorskip("starlink.Ast")
    pytest.importorskip("skydelta.lsst.sip_fit")


def distorted(x, y):
    """Ra, dec in rad of parent pixels: quadratic, 30 px of distortion over the image."""
    u, v = x - X0, y - Y0
    s = 1e-6
    ra = 0.5 + s * (u + 0.003 * u * v + 0.002 * v * v)
    return ra, -0.3 + s * (v - 0.004 * u * u)


def projection():
    """Two mappings, a shift to the first pixel and a polynomial, as a chain of the tree."""
    first = poly_map([[-X0, 1.0, 0.0], [-Y0, 0.0, 1.0]], [(0, 0), (1, 0), (0, 1)])
    powers = [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (2, 0)]
    s = 1e-6
    ra = [0.5, s, 0.0, 0.003 * s, 0.002 * s, 0.0]
    dec = [-0.3, 0.0, s, 0.0, 0.0, -0.004 * s]
    second = poly_map([ra, dec], powers)
    return {"pixel_to_sky": {"mappings": [{"ast": first}, {"ast": second}]}}


@pytest.mark.parametrize("approximated", [False, True])
@pytest.mark.usefixtures("ast")
def test_a_projection_fits_does_not_have_is_followed(path, approximated):
    members = projection()
    if approximated:
        members["fits_approximation"] = {"mappings": []}
    write(path, tree(sky_projection=members), wcs=approximated)
    exposure = read_exposure(path)
    yy, xx = (a.ravel().astype(float) for a in np.mgrid[: SHAPE[0], : SHAPE[1]])
    ra, dec = exposure.wcs.all_pix2world(xx, yy, 0)
    true_ra, true_dec = np.degrees(distorted(xx + X0, yy + Y0))
    scale = np.degrees(1e-6)
    off = np.hypot((ra - true_ra) * np.cos(np.radians(dec)), dec - true_dec) / scale
    assert off.max() < 1e-3
    assert any("TAN-SIP" in note for note in exposure.notes)


def test_an_exact_header_is_taken_as_it_is(path):
    write(path, tree(sky_projection=projection()))
    exposure = read_exposure(path)
    np.testing.assert_allclose(exposure.wcs.wcs.crval, [55.0, -31.0])
    assert not exposure.notes


@pytest.mark.usefixtures("ast")
def test_projections_that_cannot_be_followed_are_refused(path):
    write(path, tree(sky_projection={"pixel_to_sky": {"mappings": [{"row": 1}]}}), wcs=False)
    with pytest.raises(NoWcsError, match="frames of a camera"):
        read_exposure(path)
    write(path, tree(), wcs=False)
    with pytest.raises(NoWcsError, match="CTYPE1"):
        read_exposure(path)
    broken = {"pixel_to_sky": {"mappings": [{"ast": "Begin PolyMap"}]}}
    write(path, tree(sky_projection=broken), wcs=False)
    with pytest.raises(CorruptFileError, match=r"visit\.fits.*AST"):
        read_exposure(path)


def test_the_band_of_the_table_must_be_that_of_the_file(path):
    write(path, tree())
    assert read_exposure(path, band="i", saturate=5e4).saturate == 5e4
    with pytest.raises(BandMismatchError, match=r"'r'.*'i'"):
        read_exposure(path, band="r")


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("datetime_begin", "yesterday", "a list"),
        ("datetime_begin", [2460820.0, None], "a list of numbers"),
        ("datetime_end", [2460820.0], "two parts"),
        ("exposure_time", "long", "a number"),
    ],
)
def test_values_of_the_wrong_kind_are_named(path, key, value, expected):
    write(path, tree(obs_info=OBSERVATION | {key: value}))
    with pytest.raises(CorruptFileError, match=rf"visit\.fits.*/obs_info/{key}.*{expected}"):
        read_exposure(path)


def test_damaged_files_are_refused(path):
    with pytest.raises(CorruptFileError, match=r"visit\.fits.*JSON"):
        read_exposure(write(path, b'{"half": '))
    with pytest.raises(CorruptFileError, match="JSON table"):
        read_exposure(write(path, None))
    with pytest.raises(CorruptFileError, match="psf/sigma"):
        read_exposure(write(path, tree({"schema_url": GAUSSIAN["schema_url"]})))
    write(path, tree())
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(CorruptFileError):
        read_exposure(path)
