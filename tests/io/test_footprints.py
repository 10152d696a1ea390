import gzip
import json
import math

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from skydelta import sphere
from skydelta.errors import (
    BadImageError,
    CorruptFileError,
    InputError,
    MissingFileError,
    NoWcsError,
)
from skydelta.io.footprints import footprint_of, image_header, read_footprint, read_footprints

ARCSEC = math.radians(1 / 3600)
NX, NY = 300, 200


def tan_wcs(ra=57.0, dec=-31.0, *, scale=0.2, angle=0.0, ctype=("RA---TAN", "DEC--TAN")):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ctype
    wcs.wcs.crval = ra, dec
    wcs.wcs.crpix = (NX + 1) / 2, (NY + 1) / 2
    c, s = math.cos(angle), math.sin(angle)
    wcs.wcs.cd = np.array([[-c, s], [s, c]]) * scale / 3600
    return wcs


def header(wcs=None):
    return (wcs or tan_wcs()).to_header()


def image(name="", head=None):
    return fits.ImageHDU(np.zeros((NY, NX), np.float32), head, name=name)


def expected_area():
    return NX * NY * (0.2 * ARCSEC) ** 2


def make_plain(path):
    fits.PrimaryHDU(np.zeros((NY, NX), np.float32), header()).writeto(path)


def make_native(path):
    hdus = [fits.PrimaryHDU(), image("MASK", header(tan_wcs(0, 0))), image("IMAGE", header())]
    fits.HDUList(hdus).writeto(path)


def make_lsst(path):
    hdu = image("", header())
    hdu.header["EXTTYPE"] = "IMAGE"
    fits.HDUList([fits.PrimaryHDU(), image("", header(tan_wcs(0, 0))), hdu]).writeto(path)


def make_compressed(path):
    data = np.arange(NX * NY, dtype=np.int16).reshape(NY, NX)
    hdu = fits.CompImageHDU(data, header(), compression_type="RICE_1")
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)


def make_illegal(path):
    """Both CD and PC, as some pipelines write; CD holds."""
    head = header()
    head.update({f"CD{i}_{j}": head.pop(f"PC{i}_{j}", 0.0) for i in (1, 2) for j in (1, 2)})
    head.update({"PC1_1": 1.0, "PC2_2": 1.0, "CDELT1": 1.0, "CDELT2": 1.0})
    fits.PrimaryHDU(np.zeros((NY, NX), np.float32), head).writeto(path)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (make_plain, "a.fits"),
        (make_plain, "a.fits.gz"),
        (make_native, "a.fits"),
        (make_lsst, "a.fits"),
        (make_compressed, "a.fits.fz"),
        (make_illegal, "a.fits"),
    ],
)
def test_every_form_of_file(tmp_path, make, name):
    path = tmp_path / name
    make(path)
    footprint = read_footprint(path)
    assert len(footprint.outline) == 4
    assert footprint.area == pytest.approx(expected_area(), rel=1e-6)
    assert footprint.pixel_scale == pytest.approx(0.2 * ARCSEC, rel=1e-6)
    centre, _ = sphere.bounding_cap(footprint.outline)
    assert sphere.sky_position(centre) == pytest.approx((57, -31), abs=1e-6)
    assert (image_header(path)["NAXIS1"], image_header(path)["NAXIS2"]) == (NX, NY)


def test_outline_runs_along_the_outer_edges_of_the_pixels():
    wcs = tan_wcs(angle=0.4)
    corners = wcs.all_pix2world(
        [-0.5, NX - 0.5, NX - 0.5, -0.5], [-0.5, -0.5, NY - 0.5, NY - 0.5], 0
    )
    expected = sphere.polygon(*corners)
    for corner in footprint_of(wcs, (NY, NX)).outline:
        assert min(sphere.separation(corner, other) for other in expected) < 1e-12


@pytest.mark.parametrize("dec", [90, -90, 89.99])
def test_poles(dec):
    assert footprint_of(tan_wcs(10, dec), (NY, NX)).area == pytest.approx(expected_area(), rel=1e-6)


def test_across_ra_zero():
    assert footprint_of(tan_wcs(0.0, 0), (NY, NX)).area == pytest.approx(expected_area(), rel=1e-6)


def test_latitude_first():
    wcs = tan_wcs()
    swapped = tan_wcs()
    swapped.wcs.ctype = "DEC--TAN", "RA---TAN"
    swapped.wcs.crval = -31, 57
    swapped.wcs.cd = wcs.wcs.cd[::-1]
    assert footprint_of(swapped, (NY, NX)).outline == pytest.approx(
        np.array(footprint_of(wcs, (NY, NX)).outline), abs=1e-14
    )


def test_galactic_coordinates_are_turned_to_icrs():
    wcs = tan_wcs(266.4, -28.9)
    galactic = wcs.pixel_to_world((NX - 1) / 2, (NY - 1) / 2).galactic
    other = tan_wcs(galactic.l.deg, galactic.b.deg, ctype=("GLON-TAN", "GLAT-TAN"))
    centres = [sphere.bounding_cap(footprint_of(w, (NY, NX)).outline)[0] for w in (wcs, other)]
    assert sphere.separation(*centres) < 0.01 * ARCSEC


def test_distorted_outline_is_followed():
    """A cubic SIP term bends the edges inwards: the area is that of the pixels, not of a box."""
    wcs = tan_wcs(ctype=("RA---TAN-SIP", "DEC--TAN-SIP"))
    head = wcs.to_header()
    head.update(
        {"A_ORDER": 3, "B_ORDER": 3, "A_3_0": 1e-6, "A_1_2": 1e-6, "B_0_3": 1e-6, "B_2_1": 1e-6}
    )
    wcs = WCS(head)
    footprint = footprint_of(wcs, (NY, NX))
    assert len(footprint.outline) > 4
    assert not sphere.is_convex(footprint.outline)
    x, y = np.meshgrid(np.arange(NX), np.arange(NY))
    # Jacobian of the distortion u (1 + k r^2): (1 + k r^2) (1 + 3 k r^2).
    r2 = (x - (NX - 1) / 2) ** 2 + (y - (NY - 1) / 2) ** 2
    jacobian = (1 + 1e-6 * r2) * (1 + 3e-6 * r2)
    assert footprint.area == pytest.approx(jacobian.sum() * (0.2 * ARCSEC) ** 2, rel=1e-3)


def no_wcs(path):
    fits.PrimaryHDU(np.zeros((NY, NX), np.float32)).writeto(path)


def not_celestial(path):
    head = fits.Header({"CTYPE1": "FREQ", "CTYPE2": "STOKES", "CDELT1": 1.0, "CDELT2": 1.0})
    fits.PrimaryHDU(np.zeros((NY, NX), np.float32), head).writeto(path)


def singular(path):
    head = header()
    head["PC1_1"] = head["PC1_2"] = head["PC2_1"] = head["PC2_2"] = 0.0
    fits.PrimaryHDU(np.zeros((NY, NX), np.float32), head).writeto(path)


def whole_sky(path):
    wcs = tan_wcs(scale=3600.0, ctype=("RA---AIT", "DEC--AIT"))
    fits.PrimaryHDU(np.zeros((NY, NX), np.float32), wcs.to_header()).writeto(path)


def table_only(path):
    columns = [fits.Column("x", "E", array=[1.0])]
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(columns)]).writeto(path)


def cube(path):
    fits.PrimaryHDU(np.zeros((3, 4, 5), np.float32), header()).writeto(path)


def spectrum(path):
    fits.PrimaryHDU(np.zeros(10, np.float32)).writeto(path)


def text(path):
    path.write_text("this is not FITS\n")


def empty(path):
    path.touch()


def cut_off(path):
    make_native(path)
    path.write_bytes(path.read_bytes()[:-100_000])


def cut_off_gzip(path):
    make_native(path)
    path.write_bytes(gzip.compress(path.read_bytes())[:300])


def cut_off_header(path):
    make_native(path)
    path.write_bytes(path.read_bytes()[:4000])


def garbled(path):
    make_plain(path)
    content = bytearray(path.read_bytes())
    content[160:170] = b"\xff\x00NAXIS=\xfe\x01"
    content[240:260] = b"NAXIS1  =      three"
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (no_wcs, NoWcsError, "has no WCS"),
        (not_celestial, NoWcsError, "not a celestial one"),
        (singular, NoWcsError, "WCS"),
        (whole_sky, NoWcsError, "WCS"),
        (table_only, BadImageError, "no image of two dimensions"),
        (cube, BadImageError, "no image of two dimensions"),
        (spectrum, BadImageError, "no image of two dimensions"),
        (text, CorruptFileError, "not a readable FITS"),
        (empty, CorruptFileError, "not a readable FITS"),
        (cut_off, CorruptFileError, r"cut off: \d+ bytes"),
        (cut_off_header, CorruptFileError, "cut off: its length"),
        (cut_off_gzip, CorruptFileError, "not a readable FITS"),
        (garbled, InputError, "bad.fits"),
        (lambda path: None, MissingFileError, "does not exist"),
        (lambda path: path.mkdir(), CorruptFileError, "not a readable FITS"),
    ],
)
def test_bad_files_are_typed_and_named(tmp_path, make, error, message):
    path = tmp_path / "bad.fits"
    make(path)
    with pytest.raises(error, match=message) as caught:
        read_footprint(path)
    assert "bad.fits" in str(caught.value)
    assert caught.value.status == error.status or error is InputError


class TestCache:
    def test_unchanged_files_are_not_opened(self, tmp_path, monkeypatch):
        path, cache = str(tmp_path / "a.fits"), tmp_path / "cache.json"
        make_plain(path)
        first = read_footprints([path], cache)
        monkeypatch.setattr("skydelta.io.footprints.read_footprint", None)
        assert read_footprints([path], cache) == first

    def test_changed_files_are_read_again(self, tmp_path):
        path, cache = str(tmp_path / "a.fits"), tmp_path / "cache.json"
        make_plain(path)
        before = read_footprints([path], cache)[path]
        fits.PrimaryHDU(np.zeros((NY, NX + 1), np.float32), header()).writeto(path, overwrite=True)
        assert read_footprints([path], cache)[path].area > before.area

    def test_failures_are_not_kept(self, tmp_path):
        path, cache = str(tmp_path / "a.fits"), tmp_path / "cache.json"
        assert isinstance(read_footprints([path], cache)[path], MissingFileError)
        make_plain(path)
        assert read_footprints([path], cache)[path].area > 0

    @pytest.mark.parametrize("content", ["{", "[]", '{"key": 1}', b"\xff"])
    def test_damaged_cache_is_made_anew(self, tmp_path, caplog, content):
        path, cache = str(tmp_path / "a.fits"), tmp_path / "cache.json"
        make_plain(path)
        cache.write_bytes(content if isinstance(content, bytes) else content.encode())
        assert read_footprints([path], cache)[path].area > 0
        assert "damaged" in caplog.text or content == '{"key": 1}'
        assert path in json.loads(cache.read_text())["content"]

    def test_cache_that_cannot_be_written_is_said(self, tmp_path, caplog):
        path = str(tmp_path / "a.fits")
        make_plain(path)
        (tmp_path / "file").touch()
        assert read_footprints([path], tmp_path / "file" / "cache.json")[path].area > 0
        assert "cannot be written" in caplog.text
