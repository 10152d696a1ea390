"""The sums in our FITS products are the standard's, and every change of a byte is seen."""

import warnings

import numpy as np
import pytest
from astropy.io import fits
from scenes import make_exposure, white_noise

from skydelta.errors import CorruptFileError
from skydelta.io.fits_sums import BLOCK, read_sums
from skydelta.io.fits_writer import write_hdus
from skydelta.io.native import read_native, write_exposure


@pytest.fixture
def path(tmp_path):
    """A file with an image, and a table of every kind of column, of an odd number of bytes."""
    columns = [
        fits.Column("id", "K", null=0, array=np.arange(5)),
        fits.Column("name", "7A", array=np.array(["it's", "b", "", "d", "eeeeeee"])),
        fits.Column("flag", "L", array=np.array([True, False, True, True, False])),
        fits.Column("flux", "E", unit="count", array=np.linspace(-1, 1, 5)),
        fits.Column("stamp", "9E", dim="(3,3)", array=np.ones((5, 3, 3))),
    ]
    image = np.random.default_rng(2).normal(size=(31, 17)).astype(">f4")
    primary = fits.PrimaryHDU()
    primary.header["WHO"] = ("it's / he's", "a comment / with a slash")
    path = tmp_path / "a.fits"
    write_hdus(
        path,
        [
            primary,
            fits.ImageHDU(image, name="IMAGE"),
            fits.ImageHDU(np.arange(2 * 10**5, dtype=np.int64).reshape(2, -1), name="BIG"),
            fits.BinTableHDU.from_columns(columns, name="TABLE"),
        ],
    )
    return path


def test_astropy_agrees(path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with fits.open(path, checksum=True) as hdul:
            for hdu in hdul:
                assert hdu.verify_checksum() == 1
                assert hdu.verify_datasum() == 1


def test_what_a_pass_finds(path):
    found = read_sums(path)
    assert [hdu.name for hdu in found] == ["PRIMARY", "IMAGE", "BIG", "TABLE"]
    assert [hdu.rows for hdu in found] == [None, None, None, 5]
    assert found[0].cards["WHO"] == "it's / he's"
    assert all(hdu.has_sums for hdu in found)


def test_same_content_same_bytes(path, tmp_path):
    with fits.open(path) as hdul:
        write_hdus(tmp_path / "b.fits", [hdu.copy() for hdu in hdul])
    assert (tmp_path / "b.fits").read_bytes() == path.read_bytes()


def test_every_flipped_bit_is_seen(path):
    """Not only in data: a header card, the padding and the last byte of the file too."""
    content = path.read_bytes()
    places = [*np.random.default_rng(4).integers(0, len(content), 60), 1200, len(content) - 1]
    for place in map(int, places):
        damaged = bytearray(content)
        damaged[place] ^= 0x10
        path.write_bytes(damaged)
        with pytest.raises(CorruptFileError):
            read_sums(path)
    path.write_bytes(content)
    read_sums(path)


@pytest.mark.parametrize("data", [True, False])
@pytest.mark.parametrize("kept", [0, 1, 80, BLOCK - 1, BLOCK + 7, -1, -BLOCK])
def test_cut_off_files_are_refused(path, kept, data):
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CorruptFileError):
        read_sums(path, data=data)


def test_a_file_without_its_last_hdu_is_refused(path):
    """Cut off where an HDU ends, all that is left has the right sums."""
    with fits.open(path) as hdul:
        end = hdul[3].fileinfo()["hdrLoc"]
    path.write_bytes(path.read_bytes()[:end])
    with pytest.raises(CorruptFileError, match="2 of 3 extensions"):
        read_sums(path)


@pytest.mark.parametrize("appended", [b"\0" * BLOCK, b"x"])
def test_more_than_a_fits_file_is_refused(path, appended):
    path.write_bytes(path.read_bytes() + appended)
    with pytest.raises(CorruptFileError):
        read_sums(path)


def test_files_without_sums_are_judged_by_their_length(tmp_path):
    path = tmp_path / "old.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.zeros((9, 9)))]).writeto(path)
    assert [hdu.has_sums for hdu in read_sums(path)] == [False, False]
    path.write_bytes(path.read_bytes()[:-BLOCK])
    with pytest.raises(CorruptFileError, match="lacks"):
        read_sums(path)


def test_sums_are_no_part_of_an_exposure(tmp_path):
    """What reads a product and writes another must not hand the first one's sums on."""
    exposure = make_exposure(white_noise((20, 20), 1))
    write_exposure(tmp_path / "a.fits", exposure)
    with fits.open(tmp_path / "a.fits") as hdul:
        again = read_native(hdul)
    assert not {"CHECKSUM", "DATASUM"} & set(again.meta)
    write_exposure(tmp_path / "b.fits", again.replace(band="z"))
    assert all(hdu.has_sums for hdu in read_sums(tmp_path / "b.fits"))
