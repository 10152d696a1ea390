import logging

import numpy as np
import pytest
from astropy.io import fits
from scenes import gaussian_psf, make_exposure, tan_wcs, white_noise

from skydelta.errors import InputError, MissingFileError, NoOverlapError, NoWcsError, SkydeltaError
from skydelta.io.inputs import left_out, read_coadds, read_grid, read_science
from skydelta.io.native import write_exposure

SHAPE = (40, 60)
SECTION = {
    "coadd_zero_point": None,
    "saturate": None,
    "coadd_saturate": None,
    "gain": None,
    "coadd_gain": None,
    "mask_codes": None,
    "trust_pickles": False,
}


def row(path, **fields):
    return {"path": str(path), "band": "i", "psf": None, "weight": None, "mask": None, **fields}


@pytest.fixture
def native(tmp_path):
    path = tmp_path / "a.fits"
    write_exposure(path, make_exposure(white_noise(SHAPE, 0), wcs=tan_wcs(SHAPE, rotation=15)))
    return path


class TestGrid:
    def test_without_pixels(self, native):
        wcs, shape = read_grid(native)
        assert shape == SHAPE
        expected = tan_wcs(SHAPE, rotation=15).all_pix2world(3.0, 4.0, 0)
        assert np.allclose(wcs.all_pix2world(3.0, 4.0, 0), expected, atol=1e-10)

    def test_missing(self, tmp_path):
        with pytest.raises(SkydeltaError, match=r"gone\.fits"):
            read_grid(tmp_path / "gone.fits")

    def test_no_wcs(self, tmp_path):
        fits.writeto(tmp_path / "a.fits", np.zeros((5, 5)))
        with pytest.raises(NoWcsError, match=r"a\.fits: .*solve its astrometry"):
            read_grid(tmp_path / "a.fits")


class TestScience:
    def test_reads(self, native):
        exposure = read_science(row(native), SECTION)
        assert np.array_equal(exposure.image, white_noise(SHAPE, 0).astype(np.float32))
        assert exposure.band == "i"

    def test_known_psf_is_taken(self, native):
        psf = gaussian_psf(3.0, 15)
        assert read_science(row(native), SECTION, psf=psf).psf is psf

    def test_configuration_wins_over_the_header(self, native):
        exposure = read_science(row(native), {**SECTION, "saturate": 123.0, "gain": 2.5})
        assert (exposure.saturate, exposure.gain) == (123.0, 2.5)

    def test_missing(self, tmp_path):
        with pytest.raises(MissingFileError):
            read_science(row(tmp_path / "gone.fits"), SECTION)


class TestCoadds:
    def test_one_at_a_time(self, native):
        coadds = read_coadds([row(native), row(native)], SECTION, [])
        assert next(coadds).shape == SHAPE
        assert len(list(coadds)) == 1

    def test_unusable_ones_are_left_out_and_told(self, native, tmp_path, caplog):
        (tmp_path / "broken.fits").write_bytes(b"no FITS")
        lost = []
        with caplog.at_level(logging.WARNING):
            coadds = list(read_coadds([row(tmp_path / "broken.fits"), row(native)], SECTION, lost))
        assert len(coadds) == len(lost) == 1
        assert "left out (corrupt_file)" in lost[0]
        assert "broken.fits" in lost[0]
        assert lost[0] in caplog.text

    def test_told_of_a_template(self):
        told = make_exposure(white_noise(SHAPE, 0)).noted("x", "coadd left out (no_wcs): a.fits")
        assert left_out(told) == ["coadd left out (no_wcs): a.fits"]

    def test_none_usable(self, tmp_path):
        rows = [row(tmp_path / "one.fits"), row(tmp_path / "two.fits")]
        with pytest.raises(InputError, match=r"one\.fits"):
            list(read_coadds(rows, SECTION, []))

    def test_no_row(self):
        with pytest.raises(NoOverlapError, match="no coadd of this band"):
            list(read_coadds([], SECTION, []))

    def test_zero_point_of_the_configuration(self, tmp_path):
        path = tmp_path / "a.fits"
        write_exposure(path, make_exposure(white_noise(SHAPE, 0), photo_calib=None))
        (coadd,) = read_coadds([row(path)], {**SECTION, "coadd_zero_point": 27.0}, [])
        assert coadd.photo_calib.zero_point == pytest.approx(27.0)
        (without,) = read_coadds([row(path)], SECTION, [])
        assert without.photo_calib is None
