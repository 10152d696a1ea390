import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from scenes import gaussian_stamp, make_exposure, tan_wcs, white_noise

from skydelta.errors import (
    BadImageError,
    BadPsfError,
    BadVarianceError,
    InputError,
    NoWcsError,
)
from skydelta.io.native import (
    add_notes,
    is_native,
    mark_unusable,
    mask_planes,
    notes_of,
    read_native,
    write_exposure,
)
from skydelta.io.zero_points import photo_calib_from_header
from skydelta.mask import Mask
from skydelta.photocalib import PhotoCalib
from skydelta.psf import GridPsf

SHAPE = (40, 50)


def sip_wcs():
    header = tan_wcs(SHAPE, rotation=20).to_header()
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN-SIP", "DEC--TAN-SIP"
    header["A_ORDER"] = header["B_ORDER"] = 2
    header.update({"A_2_0": 1e-5, "B_1_1": -2e-5})
    return WCS(header)


@pytest.fixture
def exposure():
    where = np.zeros(SHAPE, bool)
    where[3, 4] = True
    mask = Mask.empty(SHAPE).with_plane("SAT", where).with_plane("STREAK_LONG", where)
    x, y = (a.ravel() for a in np.meshgrid([0.0, 49.0], [0.0, 39.0]))
    stamps = np.stack([gaussian_stamp(s, 15) for s in (1.5, 1.6, 1.7, 1.8)]).astype(np.float32)
    return make_exposure(
        white_noise(SHAPE, 0),
        np.linspace(1, 2, 50),
        mask=mask,
        wcs=sip_wcs(),
        psf=GridPsf(x, y, stamps.astype(float)),
        photo_calib=PhotoCalib(2.5, 0.01),
        mjd=60123.25,
        exptime=30.0,
        gain=1.6,
        saturate=1e5,
        meta={"VISIT": (42, "visit number"), "KSUM": (1.25, "kernel sum")},
        notes=("one sentence", "another that is so long that it needs " + "more room " * 20),
    )


def read(path):
    with fits.open(path, memmap=False) as hdul:
        assert is_native(hdul)
        return read_native(hdul)


class TestRoundTrip:
    def test_everything_comes_back(self, exposure, tmp_path):
        write_exposure(tmp_path / "a.fits", exposure)
        back = read(tmp_path / "a.fits")
        assert np.array_equal(back.image, exposure.image)
        assert np.array_equal(back.variance, exposure.variance)
        for plane in exposure.mask.planes:
            assert np.array_equal(back.mask.any(plane), exposure.mask.any(plane))
        assert back.photo_calib == exposure.photo_calib
        for name in ("band", "mjd", "exptime", "gain", "saturate"):
            assert getattr(back, name) == getattr(exposure, name)
        assert back.notes == tuple(note.strip() for note in exposure.notes)
        assert (back.meta["VISIT"], back.meta["KSUM"]) == (42, 1.25)
        assert back.psf.stamp(10, 20) == pytest.approx(exposure.psf.stamp(10, 20), abs=1e-9)
        sky = back.wcs.all_pix2world([0.0, 30], [5.0, 39], 0)
        assert np.allclose(sky, exposure.wcs.all_pix2world([0.0, 30], [5.0, 39], 0), atol=1e-10)

    def test_second_write_is_the_same_bytes(self, exposure, tmp_path):
        write_exposure(tmp_path / "a.fits", exposure)
        write_exposure(tmp_path / "b.fits", exposure)
        write_exposure(tmp_path / "c.fits", read(tmp_path / "a.fits"))
        write_exposure(tmp_path / "d.fits", read(tmp_path / "c.fits"))
        content = (tmp_path / "a.fits").read_bytes()
        assert (tmp_path / "b.fits").read_bytes() == content
        assert (tmp_path / "d.fits").read_bytes() == (tmp_path / "c.fits").read_bytes()

    def test_no_date(self, exposure, tmp_path):
        write_exposure(tmp_path / "a.fits", exposure)
        with fits.open(tmp_path / "a.fits") as hdul:
            for hdu in hdul:
                assert not {"DATE", "DATE-OBS"} & set(hdu.header)
                assert "20" not in hdu.header.comments["CHECKSUM"] + hdu.header.comments["DATASUM"]

    def test_unknown_numbers_stay_unknown(self, tmp_path):
        plain = make_exposure(white_noise(SHAPE, 0), photo_calib=None)
        write_exposure(tmp_path / "a.fits", plain.replace(psf=None))
        back = read(tmp_path / "a.fits")
        assert back.photo_calib is None
        assert back.psf is None
        assert np.isnan([back.mjd, back.exptime, back.gain]).all()
        assert back.saturate == np.inf

    def test_a_psf_that_is_no_grid_is_sampled(self, tmp_path):
        from skydelta.simulate.optics import make_psf

        field = make_psf(np.random.default_rng(0), SHAPE, 0.8)
        write_exposure(tmp_path / "a.fits", make_exposure(white_noise(SHAPE, 0)).replace(psf=field))
        psf = read(tmp_path / "a.fits").psf
        assert np.abs(psf.stamp(20, 20) - field.stamp(20, 20)).max() < 2e-3

    def test_old_files_with_one_stamp(self, exposure, tmp_path):
        write_exposure(tmp_path / "a.fits", exposure.replace(psf=None))
        with fits.open(tmp_path / "a.fits", mode="append") as hdul:
            hdul.append(fits.ImageHDU(gaussian_stamp(2.0, 15), name="PSF"))
        assert read(tmp_path / "a.fits").psf.stamp(0, 0) == pytest.approx(gaussian_stamp(2.0, 15))


def test_failed_write_leaves_no_product(exposure, tmp_path):
    with pytest.raises((ValueError, TypeError)):
        write_exposure(tmp_path / "a.fits", exposure.replace(meta={"BAD": object()}))
    assert list(tmp_path.iterdir()) == []


class TestNotes:
    @pytest.mark.parametrize(
        "notes",
        [
            (),
            ("short",),
            ("a " * 100, "b"),
            ("x" * 71, "y" * 70, "z" * 69),
            ("ends with a blank at the card's edge" + " " * 33 + "w and more",),
        ],
    )
    def test_round_trip(self, notes):
        header = fits.Header()
        add_notes(header, notes)
        again = fits.Header.fromstring(header.tostring())
        assert notes_of(again) == tuple(" ".join(note.split()) for note in notes)

    def test_letters_that_fits_lacks(self):
        header = fits.Header()
        add_notes(header, ["σ of 3 px"])
        assert notes_of(header) == ("? of 3 px",)

    def test_foreign_history_is_no_note(self):
        header = fits.Header()
        header["HISTORY"] = "made by SWarp"
        assert notes_of(header) == ()


class TestHeaders:
    @pytest.mark.parametrize(
        ("cards", "zero_point"),
        [
            ({"MAGZERO": 27.5}, 27.5),
            ({"MAGZP": 26.0}, 26.0),
            ({"FLUXMAG0": 10**10.8}, 27.0),
            ({"MAGZERO": 25.0, "NJYSCALE": 1.0}, 31.4),
        ],
    )
    def test_zero_points(self, cards, zero_point):
        assert photo_calib_from_header(cards).zero_point == pytest.approx(zero_point)

    @pytest.mark.parametrize(
        "cards",
        [
            {},
            {"MAGZERO": "none"},
            {"FLUXMAG0": 0},
            {"MAGZERO": 25.0, "PHOTSYS": "VEGA"},
            {"FLUXMAG0": 1e10, "MAGSYS": "Vega mag"},
        ],
    )
    def test_none(self, cards):
        assert photo_calib_from_header(cards) is None

    def test_error_of_the_scale(self):
        calib = photo_calib_from_header({"FLUXMAG0": 1e10, "FLUXMAG0ERR": 1e8})
        assert calib.scale_err / calib.scale == pytest.approx(0.01)
        for cards in ({"MAGZERO": 25.0, "MAGZERR": 0.02}, {"MAGZP": 25.0, "MAGZPUNC": 0.02}):
            calib = photo_calib_from_header(cards)
            assert calib.scale_err / calib.scale == pytest.approx(0.02 * np.log(10) / 2.5)

    def test_ab_is_taken(self):
        assert photo_calib_from_header({"MAGZERO": 25.0, "PHOTSYS": "AB"}).zero_point == 25.0

    def test_mask_planes(self):
        header = fits.Header({"MP_SAT": 3, "MP_BAD": 0})
        assert mask_planes(header) == {"SAT": 3, "BAD": 0}
        with pytest.raises(InputError, match="bits have no names"):
            mask_planes(fits.Header())


class TestUnusable:
    def test_marked(self):
        image, variance = white_noise(SHAPE, 0), np.ones(SHAPE)
        image[1, 1] = np.nan
        variance[2, 2], variance[3, 3], variance[4, 4] = np.nan, 0.0, np.inf
        marked = mark_unusable(make_exposure(image, variance))
        lost = marked.mask.any("NO_DATA")
        assert np.argwhere(lost).tolist() == [[1, 1], [2, 2], [3, 3], [4, 4]]
        assert np.isfinite(marked.image).all()
        assert np.isnan(marked.variance[lost]).all()
        assert "unmasked pixels without finite value" in marked.notes[-1]

    def test_few_negative_variances(self):
        variance = np.ones(SHAPE)
        variance[5, 5] = -1
        marked = mark_unusable(make_exposure(white_noise(SHAPE, 0), variance))
        assert marked.mask.any("NO_DATA").sum() == 1
        assert "negative variance" in marked.notes[-1]

    def test_clean_images_are_handed_on(self):
        exposure = make_exposure(white_noise(SHAPE, 0))
        assert mark_unusable(exposure) is exposure

    @pytest.mark.parametrize(
        ("image", "variance", "error", "message"),
        [
            (np.full(SHAPE, np.nan), 1.0, BadImageError, "no finite pixel"),
            (np.zeros(SHAPE), 0.0, BadVarianceError, "nowhere positive"),
            (np.zeros(SHAPE), np.nan, BadVarianceError, "nowhere positive"),
            (np.zeros(SHAPE), np.linspace(-1, 9, 50), BadVarianceError, "weight map"),
        ],
    )
    def test_hopeless(self, image, variance, error, message):
        with pytest.raises(error, match=message):
            mark_unusable(make_exposure(image, variance))


class TestDamage:
    def damaged(self, exposure, path, change):
        write_exposure(path, exposure)
        with fits.open(path, memmap=False) as hdul:
            change(hdul)
            hdul.writeto(path.with_name("bad.fits"))
        return path.with_name("bad.fits")

    def test_no_wcs(self, exposure, tmp_path):
        def change(hdul):
            for card in list(hdul["IMAGE"].header["C*"]):
                del hdul["IMAGE"].header[card]

        path = self.damaged(exposure, tmp_path / "a.fits", change)
        with pytest.raises(NoWcsError, match="solve its astrometry first"):
            read(path)

    def test_bad_psf(self, exposure, tmp_path):
        def change(hdul):
            hdul["PSFGRID"].data["stamp"][:] = 0

        path = self.damaged(exposure, tmp_path / "a.fits", change)
        with pytest.raises(BadPsfError, match="no positive sum"):
            read(path)

    def test_stack_files_are_not_native(self):
        names = ("IMAGE", "MASK", "VARIANCE", "ARCHIVE_INDEX")
        hdul = fits.HDUList([fits.PrimaryHDU(), *(fits.ImageHDU(name=n) for n in names)])
        assert not is_native(hdul)
        assert is_native(hdul[:-1])
