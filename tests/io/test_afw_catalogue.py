import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import MaskedColumn, Table

from skydelta.errors import CorruptFileError, InputError, MissingFileError
from skydelta.io.afw_catalogue import column, read_afw_catalogue, resolve_alias, write_afw_catalogue

FLUX = np.array([1.5, -2.0, np.nan])
FLAGS = {
    # Nine flags, so that the bits fill more than a byte.
    "base_PsfFlux_flag": [1, 0, 0],
    "base_PsfFlux_flag_edge": [0, 1, 0],
    "base_PixelFlags_flag_saturated": [0, 0, 1],
    **{f"ext_flag_{i}": [0, 0, 0] for i in range(5)},
    "last_flag": [1, 0, 1],
}
ALIASES = ("slot_PsfFlux:base_PsfFlux", "slot_Centroid:base_SdssCentroid")


def stack_file(path, *, flux="instFlux", cards=(("AFW_TABLE_VERSION", 3),), drop=()):
    """A catalogue as the stack writes it: bytes packed here, cards after afw FitsWriter.cc."""
    bits = np.array(list(FLAGS.values()), np.uint8)
    packed = np.zeros((3, 2), np.uint8)
    for i, row in enumerate(bits):
        packed[:, i // 8] |= row << (7 - i % 8)
    record = np.zeros(
        3,
        [
            ("flags", ">u1", 2),
            ("id", ">i8"),
            ("coord_ra", ">f8"),
            ("coord_dec", ">f8"),
            ("parent", ">i8"),
            (f"base_PsfFlux_{flux}", ">f8"),
            ("base_SdssCentroid_x", ">f8"),
            ("cov", ">f4", 3),
            ("name", "S6"),
        ],
    )
    record["flags"] = packed
    record["id"] = [2**40 + 1, 2, 3]
    record["coord_ra"] = [0.1, 1.0, 2.0]
    record[f"base_PsfFlux_{flux}"] = FLUX
    record["cov"] = np.arange(9).reshape(3, 3)
    record["name"] = [b"a", b"bc", b""]
    hdu = fits.BinTableHDU(record)
    header = hdu.header
    header["FLAGCOL"], header["AR_HDU"] = 1, 3
    for i in (3, 4):
        header[f"TUNIT{i}"], header[f"TCCLS{i}"] = "rad", "Angle"
    header["TUNIT6"], header["TDOC6"], header["TCCLS6"] = "count", "flux in the PSF", "Scalar"
    header["TUNIT8"] = "furlong^2"
    for i, name in enumerate(FLAGS, start=1):
        header[f"TFLAG{i}"], header[f"TFDOC{i}"] = name, f"says {name}"
    header.extend([("ALIAS", text) for text in ALIASES], unique=False)
    header.extend([("HIERARCH radii_of_apertures", r) for r in (3.0, 4.5)], unique=False)
    header.extend(fits.Card(f"HIERARCH {k}" if len(k) > 8 else k, v) for k, v in cards)
    for key in drop:
        del header[key]
    footprints = fits.BinTableHDU(np.zeros(2, [("id", ">i4")]), name="ARCHIVE_INDEX")
    fits.HDUList([fits.PrimaryHDU(), hdu, footprints]).writeto(path, overwrite=True)
    as_bits(path)
    return path


def as_bits(path):
    """Declares the two bytes of the first column as nine bits, which astropy would pack itself."""
    content = path.read_bytes()
    assert content.count(b"TFORM1  = '2B ") == 1
    path.write_bytes(content.replace(b"TFORM1  = '2B ", b"TFORM1  = '9X "))


@pytest.fixture
def catalogue(tmp_path):
    return read_afw_catalogue(stack_file(tmp_path / "src.fits"))


def test_the_flags_become_columns_of_their_names(catalogue):
    for name, bits in FLAGS.items():
        assert catalogue[name].dtype == bool
        assert catalogue[name].tolist() == [bool(b) for b in bits], name
        assert catalogue[name].description == f"says {name}"
    assert "flags" not in catalogue.colnames


def test_values_units_and_descriptions_are_those_of_the_file(catalogue):
    assert catalogue["id"].tolist() == [2**40 + 1, 2, 3]
    assert catalogue["coord_ra"].unit == u.rad
    np.testing.assert_array_equal(catalogue["coord_ra"], [0.1, 1.0, 2.0])
    flux = catalogue["base_PsfFlux_instFlux"]
    np.testing.assert_array_equal(flux, FLUX)
    assert flux.unit == u.count
    assert flux.description == "flux in the PSF"
    assert catalogue["cov"].shape == (3, 3)
    assert str(catalogue["cov"].unit) == "furlong^2"
    assert catalogue["name"].tolist() == ["a", "bc", ""]
    assert all(catalogue[name].dtype.isnative for name in catalogue.colnames)
    assert catalogue.meta["header"]["radii_of_apertures"] == [3.0, 4.5]


def test_slots_lead_to_their_columns(catalogue):
    assert catalogue.meta["aliases"] == dict(text.split(":") for text in ALIASES)
    assert column(catalogue, "slot_PsfFlux_instFlux").name == "base_PsfFlux_instFlux"
    assert column(catalogue, "slot_PsfFlux_flag_edge").name == "base_PsfFlux_flag_edge"
    assert column(catalogue, "coord_ra").name == "coord_ra"


def test_a_column_that_is_not_there_is_named_with_its_file(catalogue):
    with pytest.raises(InputError, match=r"src\.fits.*slot_Centroid_y.*base_SdssCentroid_y"):
        column(catalogue, "slot_Centroid_y")


@pytest.mark.parametrize(
    ("aliases", "name", "resolved"),
    [
        ({"slot_A": "x", "slot_AB": "y"}, "slot_ABC", "yC"),
        ({"slot_A": "x", "slot_AB": "y"}, "slot_AC", "xC"),
        ({"a": "b", "b_": "c_"}, "a_1", "c_1"),
        ({"a": "b"}, "other", "other"),
        ({}, "other", "other"),
    ],
)
def test_the_longest_alias_is_replaced_until_none_fits(aliases, name, resolved):
    assert resolve_alias(aliases, name) == resolved


def test_aliases_in_a_circle_are_refused():
    with pytest.raises(InputError, match="circle"):
        resolve_alias({"a": "b", "b": "a"}, "a_flux")


@pytest.mark.parametrize(
    ("version", "flux", "asked"),
    [
        (2, "flux", "slot_PsfFlux_instFlux"),
        (1, "fluxSigma", "slot_PsfFlux_instFluxErr"),
        (3, "instFlux", "slot_PsfFlux_instFlux"),
    ],
)
def test_names_of_older_versions_are_kept_and_found(tmp_path, version, flux, asked):
    cards = [("AFW_TABLE_VERSION", version), ("AFW_TYPE", "SOURCE")]
    table = read_afw_catalogue(stack_file(tmp_path / "src.fits", flux=flux, cards=cards))
    assert table.meta["afw_version"] == version
    assert f"base_PsfFlux_{flux}" in table.colnames
    np.testing.assert_array_equal(column(table, asked), FLUX)


def test_old_names_are_not_taken_for_new_ones(tmp_path):
    table = read_afw_catalogue(stack_file(tmp_path / "src.fits", flux="flux"))
    with pytest.raises(InputError, match="instFlux"):
        column(table, "slot_PsfFlux_instFlux")


def test_version_0_names_its_slots_on_cards_of_their_own(tmp_path):
    cards = [("AFW_TYPE", "SOURCE"), ("PSF_FLUX_SLOT", "flux.psf")]
    path = stack_file(tmp_path / "src.fits", cards=cards, drop=["ALIAS"])
    with fits.open(path) as hdul:
        hdul[1].columns.change_name("base_PsfFlux_instFlux", "flux.psf")
        hdul.writeto(path, overwrite=True)
    table = read_afw_catalogue(path)
    assert table.meta["afw_version"] == 0
    np.testing.assert_array_equal(column(table, "slot_PsfFlux_instFlux"), FLUX)


def test_a_table_without_flags_and_one_without_rows(tmp_path):
    path = stack_file(tmp_path / "src.fits")
    with fits.open(path) as hdul:
        header = hdul[1].header.copy()
        header["NAXIS2"] = 0
        empty = fits.BinTableHDU(hdul[1].data[:0], header)
        fits.HDUList([fits.PrimaryHDU(), empty, hdul[2]]).writeto(tmp_path / "empty.fits")
    table = read_afw_catalogue(tmp_path / "empty.fits")
    assert len(table) == 0
    assert set(FLAGS) < set(table.colnames)
    plain = Table({"x": [1.0]})
    write_afw_catalogue(tmp_path / "plain.fits", plain, kind="BASE")
    assert read_afw_catalogue(tmp_path / "plain.fits").colnames == ["x"]


def test_what_was_read_is_written_and_read_again(catalogue, tmp_path):
    path = tmp_path / "again.fits"
    write_afw_catalogue(path, catalogue)
    again = read_afw_catalogue(path)
    assert again.colnames == catalogue.colnames
    for name in catalogue.colnames:
        np.testing.assert_array_equal(again[name], catalogue[name])
        assert again[name].dtype == catalogue[name].dtype, name
        assert again[name].unit == catalogue[name].unit
        assert again[name].description == catalogue[name].description
    assert again.meta["aliases"] == catalogue.meta["aliases"]


def test_a_written_catalogue_has_the_cards_afw_looks_for(tmp_path):
    table = Table(
        {
            "id": [1, 2],
            "parent": [0, 0],
            "coord_ra": np.array([0.1, 0.2]) * u.rad,
            "coord_dec": np.array([0.3, 0.4]) * u.rad,
            "flux": np.array([1.0, 2.0]) * u.count,
            "n": np.array([1, 2], np.int16),
            "bits": np.array([1, 65535], np.uint16),
            "good": [True, False],
            "long_" * 15: [False, True],
        }
    )
    table["good"].description = "a " * 60
    path = tmp_path / "diaSrc.fits"
    write_afw_catalogue(path, table, aliases={"slot_PsfFlux": "flux"})
    with fits.open(path) as hdul:
        header, data = hdul[1].header, hdul[1].data
        assert (header["AFW_TYPE"], header["AFW_TABLE_VERSION"]) == ("SOURCE", 3)
        assert (header["FLAGCOL"], header["TTYPE1"], header["TFORM1"]) == (1, "flags", "2X")
        assert (header["TFLAG1"], header["TFLAG2"]) == ("good", "long_" * 15)
        assert header["TFDOC1"].strip() == ("a " * 60).strip()
        assert header["ALIAS"] == "slot_PsfFlux:flux"
        kinds = {header[f"TTYPE{i}"]: header.get(f"TCCLS{i}") for i in range(2, 9)}
        assert kinds["coord_ra"] == "Angle"
        assert kinds["flux"] == "Scalar"
        units = {header[f"TTYPE{i}"]: header.get(f"TUNIT{i}") for i in range(2, 9)}
        assert units["flux"] == "count"  # by this word afw knows fluxes
        np.testing.assert_array_equal(data["flags"], [[True, False], [False, True]])
        np.testing.assert_array_equal(data["bits"], [1, 65535])
    # afw takes 16-bit integers for unsigned ones.
    assert read_afw_catalogue(path)["n"].dtype == np.int32


def test_missing_floats_are_nan_and_other_missing_values_are_refused(tmp_path):
    table = Table({"x": MaskedColumn([1.0, 2.0], mask=[False, True])})
    write_afw_catalogue(tmp_path / "x.fits", table, kind="BASE")
    np.testing.assert_array_equal(read_afw_catalogue(tmp_path / "x.fits")["x"], [1.0, np.nan])
    table = Table({"n": MaskedColumn([1, 2], mask=[False, True])})
    with pytest.raises(ValueError, match=r"'n'.*fill"):
        write_afw_catalogue(tmp_path / "n.fits", table, kind="BASE")


def test_columns_afw_cannot_have_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"'z'.*complex"):
        write_afw_catalogue(tmp_path / "z.fits", Table({"z": [1j]}), kind="BASE")
    with pytest.raises(ValueError, match="coord_dec, coord_ra, parent"):
        write_afw_catalogue(tmp_path / "z.fits", Table({"id": [1]}))
    assert not list(tmp_path.iterdir())


def test_files_that_are_no_catalogue_are_refused(tmp_path):
    with pytest.raises(MissingFileError, match=r"no\.fits"):
        read_afw_catalogue(tmp_path / "no.fits")
    path = tmp_path / "image.fits"
    fits.PrimaryHDU(np.zeros((4, 4))).writeto(path)
    with pytest.raises(InputError, match=r"image\.fits.*not an LSST"):
        read_afw_catalogue(path)
    path = tmp_path / "table.fits"
    Table({"x": [1.0]}).write(path)
    with pytest.raises(InputError, match=r"table\.fits.*AFW_TABLE_VERSION"):
        read_afw_catalogue(path)


@pytest.mark.parametrize("missing", [100, 3000, 6000])
def test_a_file_cut_short_is_refused(tmp_path, missing):
    path = stack_file(tmp_path / "src.fits")
    path.write_bytes(path.read_bytes()[:-missing])
    with pytest.raises(CorruptFileError, match=r"src\.fits"):
        read_afw_catalogue(path)


@pytest.mark.parametrize(
    ("card", "value"),
    [
        ("FLAGCOL", 99),
        ("FLAGCOL", "one"),
        ("AFW_TABLE_VERSION", 2.5),
        ("FLAGCOL", 2),
        ("TFLAG12", "one_too_many"),
        ("ALIAS", "no colon"),
    ],
)
def test_cards_that_contradict_the_table_are_refused(tmp_path, card, value):
    path = stack_file(tmp_path / "src.fits")
    with fits.open(path, mode="update") as hdul:
        hdul[1].header[card] = value
    with pytest.raises(CorruptFileError, match=r"src\.fits"):
        read_afw_catalogue(path)


def test_a_damaged_card_is_refused(tmp_path):
    path = stack_file(tmp_path / "src.fits")
    path.write_bytes(path.read_bytes().replace(b"TDOC6   = 'flux in", b"TDOC6   = flux' in"))
    with pytest.raises(CorruptFileError, match=r"src\.fits.*TDOC6"):
        read_afw_catalogue(path)


def test_a_bit_without_a_name_is_refused(tmp_path):
    path = stack_file(tmp_path / "src.fits", drop=["TFLAG4"])
    with pytest.raises(CorruptFileError, match="TFLAG4"):
        read_afw_catalogue(path)
