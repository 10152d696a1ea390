import gzip
import logging

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import MaskedColumn, Table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from skydelta.errors import CorruptFileError, InputError, MissingFileError
from skydelta.io.star_catalogue import StarCatalogue, read_star_catalogue

GAIA = "gaia_dr2_20200414_189584.fits.gz"
PS1 = "ps1_pv3_3pi_20170110_189584_refcats.fits.gz"
SHARD = 189584


def csv(folder, text, name="stars.csv"):
    path = folder / name
    path.write_text(text)
    return path


def table_file(folder, columns, kind="fits", units=None, **options):
    """A table as astropy writes it."""
    path = folder / f"stars.{kind}"
    table = Table(columns)
    for name, unit in (units or {}).items():
        table[name].unit = unit
    table.write(path, overwrite=True, **options)
    return path


def shard_file(folder, flags, columns=None, units=True):
    """A table of two rows in LSST's layout, its flags packed in one bit column."""
    bits = np.array(list(flags.values()), bool).T
    unit = "rad" if units else None
    columns = columns or {"coord_ra": [1.0, 2.0], "coord_dec": [0.1, -0.1]}
    cards = [fits.Column("flags", f"{len(flags)}X", array=bits)]
    cards += [fits.Column(name, "D", array=v, unit=unit) for name, v in columns.items()]
    cards.append(fits.Column("i_flux", "D", array=[1.0, 2.0], unit="nJy"))
    hdu = fits.BinTableHDU.from_columns(cards)
    hdu.header["FLAGCOL"] = 1
    for i, name in enumerate(flags):
        hdu.header[f"TFLAG{i + 1}"] = name
    path = folder / "shard.fits"
    hdu.writeto(path, overwrite=True)
    return path


def vectors(catalogue):
    ra, dec = np.radians(catalogue.ra), np.radians(catalogue.dec)
    return np.column_stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])


def trixel(htm_id):
    """Corners of a triangle of the Hierarchical Triangular Mesh (Kunszt et al. 2001)."""
    top, x, y = np.array([0, 0, 1.0]), np.array([1.0, 0, 0]), np.array([0, 1.0, 0])
    roots = [(x, -top, y), (y, -top, -x), (-x, -top, -y), (-y, -top, x)]
    roots += [(x, top, -y), (-y, top, -x), (-x, top, y), (y, top, x)]
    digits = []
    while htm_id >= 16:
        htm_id, digit = divmod(htm_id, 4)
        digits.insert(0, digit)
    a, b, c = roots[htm_id - 8]
    for digit in digits:
        p, q, r = (v / np.linalg.norm(v) for v in (b + c, a + c, a + b))
        a, b, c = [(a, r, q), (b, p, r), (c, q, p), (p, q, r)][digit]
    return a, b, c


# Real shards ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gaia(shared_data):
    return read_star_catalogue(shared_data / "lsst_metadata" / GAIA)


@pytest.fixture(scope="module")
def ps1(shared_data):
    return read_star_catalogue(shared_data / "lsst_metadata" / PS1, "i")


def test_shards_are_read_whole(gaia, ps1):
    assert (len(gaia), len(ps1)) == (2762, 17827)
    assert gaia.name == GAIA
    assert gaia.ra.dtype == gaia.dec.dtype == gaia.flux.dtype == np.dtype("f8")
    assert gaia.ra.dtype.isnative


def test_shard_lies_in_its_triangle(gaia, ps1):
    corners = trixel(SHARD)
    for catalogue in (gaia, ps1):
        v = vectors(catalogue)
        for first, second in zip(corners, (*corners[1:], corners[0]), strict=True):
            assert (v @ np.cross(first, second)).min() > -1e-12
        # It also reaches into every corner.
        assert np.degrees(np.arccos((v @ np.transpose(corners)).max(axis=0))).max() < 0.05


def test_the_two_shards_agree(gaia, ps1):
    distance, _ = cKDTree(vectors(ps1)).query(vectors(gaia))
    arcsec = np.degrees(distance) * 3600
    assert np.mean(arcsec < 1.0) > 0.98
    assert np.mean(arcsec[arcsec < 1.0] < 0.2) > 0.98
    assert np.median(arcsec) < 0.02


def test_shard_fluxes_are_those_of_the_band(shared_data, gaia, ps1):
    with fits.open(shared_data / "lsst_metadata" / PS1) as hdul:
        np.testing.assert_array_equal(ps1.flux, hdul[1].data["i_flux"])
        z = read_star_catalogue(shared_data / "lsst_metadata" / PS1, "z")
        np.testing.assert_array_equal(z.flux, hdul[1].data["z_flux"])
    with fits.open(shared_data / "lsst_metadata" / GAIA) as hdul:
        np.testing.assert_array_equal(gaia.flux, hdul[1].data["phot_g_mean_flux"])


def test_shard_flags(gaia, ps1):
    assert ps1.is_star is None
    assert (~gaia.is_star).sum() == 1  # one phot_variable_flag is VARIABLE


def test_band_must_be_said_if_there_are_several(shared_data):
    with pytest.raises(InputError, match=r"g_flux, r_flux, i_flux, z_flux, y_flux .* which band"):
        read_star_catalogue(shared_data / "lsst_metadata" / PS1)


def test_band_that_a_shard_lacks(shared_data, caplog):
    u = read_star_catalogue(shared_data / "lsst_metadata" / PS1, "u")
    assert np.isnan(u.flux).all()
    assert "no flux of band 'u' among its columns id, coord_ra" in caplog.text


# Names and units --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [
        *(("ra", "dec"), ("RA", "Dec"), ("ra_deg", "dec_deg"), ("RAJ2000", "DEJ2000")),
        *(("raj2000", "decj2000"), ("RA_ICRS", "DE_ICRS"), ("ALPHA_J2000", "DELTA_J2000")),
    ],
)
def test_names_of_positions(tmp_path, names):
    got = read_star_catalogue(csv(tmp_path, ",".join(names) + ",Flux\n10.5,-20.25,3\n"))
    assert (got.ra[0], got.dec[0], got.flux[0]) == (10.5, -20.25, 3)
    assert got.is_star is None


@pytest.mark.parametrize(
    ("kind", "unit", "per_degree"),
    [
        *((kind, "rad", np.pi / 180) for kind in ("fits", "fits.gz", "parquet", "ecsv")),
        *((kind, "deg", 1.0) for kind in ("fits", "fits.gz", "parquet", "ecsv")),
        *((kind, "hourangle", 1 / 15) for kind in ("parquet", "ecsv")),  # FITS has no such unit
    ],
)
def test_unit_of_the_column_decides(tmp_path, kind, unit, per_degree):
    deg = {"ra": np.array([10.0, 359.0]), "dec": np.array([-5.0, 60.0])}
    for prefix in ("", "coord_"):
        columns = {prefix + k: v * per_degree for k, v in deg.items()}
        path = table_file(tmp_path, columns, kind, units=dict.fromkeys(columns, unit))
        got = read_star_catalogue(path)
        np.testing.assert_allclose(got.ra, deg["ra"], rtol=1e-14)
        np.testing.assert_allclose(got.dec, deg["dec"], rtol=1e-14)


def test_unit_in_the_metadata_of_a_parquet_field(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    fields = [
        pa.field(n, pa.float64(), metadata={"unit": "deg"}) for n in ("coord_ra", "coord_dec")
    ]
    table = pa.Table.from_arrays([pa.array([55.0]), pa.array([-30.0])], schema=pa.schema(fields))
    pq.write_table(table, tmp_path / "object.parquet")
    got = read_star_catalogue(tmp_path / "object.parquet")
    assert (got.ra[0], got.dec[0]) == (55.0, -30.0)


def test_coord_without_a_unit_is_in_radians(tmp_path):
    got = read_star_catalogue(csv(tmp_path, "coord_ra,coord_dec\n3.141592653589793,-0.5\n"))
    assert got.ra[0] == pytest.approx(180, rel=1e-15)
    assert got.dec[0] == pytest.approx(np.degrees(-0.5))


@pytest.mark.parametrize("row", ["55.0,0.5", "1.0,-30.0"])
def test_coord_without_a_unit_beyond_two_pi(tmp_path, row):
    with pytest.raises(
        InputError, match=r"coord_(ra|dec)' reaches (55|30) and so cannot be in rad"
    ):
        read_star_catalogue(csv(tmp_path, f"coord_ra,coord_dec\n{row}\n"))


@pytest.mark.parametrize("row", ["361,0", "-400,0", "10,91", "36000000,0"])
def test_degrees_beyond_their_range(tmp_path, row):
    with pytest.raises(InputError, match=r"reaches .* and so cannot be in deg"):
        read_star_catalogue(csv(tmp_path, f"ra,dec\n{row}\n"))


def test_unit_that_is_no_angle(tmp_path):
    path = table_file(tmp_path, {"ra": [1.0], "dec": [2.0]}, units={"ra": "h"})
    with pytest.raises(InputError, match="unit 'h' of column 'ra' is no angle"):
        read_star_catalogue(path)


def test_degrees_that_might_be_radians_are_said(tmp_path, caplog):
    read_star_catalogue(csv(tmp_path, "ra,dec\n1.5,0.2\n3.0,-1.2\n"))
    assert "ra and dec have no unit: taken as degrees" in caplog.text
    caplog.clear()
    read_star_catalogue(csv(tmp_path, "ra,dec\n1.5,0.2\n30,-1.2\n"))
    assert not [r for r in caplog.records if "no unit" in r.message]


def test_right_ascension_is_wrapped(tmp_path):
    got = read_star_catalogue(csv(tmp_path, "ra,dec,flux\n-1,0,1\n360,10,1\n-1e-20,20,1\n"))
    np.testing.assert_array_equal(got.ra, [359, 0, 0])


@pytest.mark.parametrize(
    ("columns", "band", "expected"),
    [
        ("flux,i_flux,r_flux", None, 1),
        ("r_flux,i_flux,flux", "i", 2),
        ("r_flux,I_FLUX,flux", "i", 2),
        ("r_flux,flux_i,flux", "i", 2),
        ("i_psfFlux,r_psfFlux,x", "r", 2),
        ("psfFlux,psfFluxErr,x", "i", 1),
        ("lsst_r_flux,lsst_i_flux,x", "i", 2),
        ("phot_g_mean_flux,phot_rp_mean_flux,x", "r", 1),
        ("x,i_flux,i_fluxErr", None, 2),
        ("x,i_flux,flux_err", None, 2),
    ],
)
def test_choice_of_flux(tmp_path, columns, band, expected):
    got = read_star_catalogue(csv(tmp_path, f"ra,dec,{columns}\n100,20,1,2,3\n"), band)
    assert got.flux[0] == expected


@pytest.mark.parametrize("name", ["mag", "i_mag", "imag", "mag_i", "iMeanPSFMag"])
def test_magnitudes_become_nanojansky(tmp_path, name):
    path = csv(tmp_path, f"ra,dec,{name}\n100,0,31.4\n100,1,28.9\n100,2,99\n100,3,-999\n100,4,\n")
    np.testing.assert_allclose(read_star_catalogue(path, "i").flux, [1, 10, *[np.nan] * 3])


@pytest.mark.parametrize(
    ("name", "unit", "expected"),
    [("flux", "mag", 10.0), ("flux", "nJy", 28.9), ("mag", "nJy", 28.9)],
)
def test_unit_tells_magnitudes_from_fluxes(tmp_path, name, unit, expected):
    path = table_file(tmp_path, {"ra": [100.0], "dec": [2.0], name: [28.9]}, units={name: unit})
    assert read_star_catalogue(path).flux[0] == pytest.approx(expected)


def test_no_flux_at_all(tmp_path, caplog):
    got = read_star_catalogue(csv(tmp_path, "ra,dec,note\n100,20,a\n"))
    assert np.isnan(got.flux[0])
    assert "no flux among its columns ra, dec, note" in caplog.text


# What is a star ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"resolved": [0, 1]}, [True, False]),
        ({"variable": [1, 0]}, [False, True]),
        ({"resolved": [0, 1], "photometric": [1, 1]}, [True, False]),
        ({"photometric": [0, 1]}, [False, True]),
        ({"photometric": [0, 0], "resolved": [0, 0], "variable": [0, 1]}, [True, False]),
        ({"pm_flag": [1, 0]}, None),
    ],
)
def test_packed_flags(tmp_path, flags, expected):
    got = read_star_catalogue(shard_file(tmp_path, flags), "i")
    np.testing.assert_array_equal(got.flux, [1, 2])
    assert got.is_star is None if expected is None else got.is_star.tolist() == expected


@pytest.mark.parametrize(
    ("column", "cells", "expected"),
    [
        ("is_star", "true false", [True, False]),
        ("is_star", "1 0", [True, False]),
        ("is_pointsource", "yes no", [True, False]),
        ("extendedness", "0.0 1.0", [True, False]),
        ("resolved", "T F", [False, True]),
        ("variable", "0 ", [True, True]),
        ("is_star", "0 ", [False, True]),
        ("phot_variable_flag", "VARIABLE CONSTANT", [False, True]),
    ],
)
def test_columns_that_tell_stars(tmp_path, column, cells, expected):
    first, second = cells.split(" ")
    got = read_star_catalogue(csv(tmp_path, f"ra,dec,{column}\n100,1,{first}\n101,2,{second}\n"))
    assert got.is_star.tolist() == expected
    assert got.is_star.dtype == bool


@pytest.mark.parametrize("kind", ["fits", "parquet", "ecsv"])
def test_logical_and_text_columns_of_every_format(tmp_path, kind):
    columns = {
        "ra": [10.0, 20.0, 30.0],
        "dec": [1.0, 2.0, 3.0],
        "flux": np.array([1, 2, 3], np.int32),
        "resolved": [False, True, False],
        "phot_variable_flag": ["NOT_AVAILABLE", "CONSTANT", "VARIABLE"],
    }
    got = read_star_catalogue(table_file(tmp_path, columns, kind))
    assert got.is_star.tolist() == [True, False, False]
    assert got.flux.tolist() == [1, 2, 3]


def test_word_that_is_neither_true_nor_false(tmp_path):
    with pytest.raises(InputError, match=r"'resolved' is neither true nor false: .*maybe"):
        read_star_catalogue(csv(tmp_path, "ra,dec,resolved\n100,1,maybe\n101,2,true\n"))


# Bad input --------------------------------------------------------------------------------------


def test_missing_file(tmp_path):
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(MissingFileError, match="no such file"):
            read_star_catalogue(path)


@pytest.fixture
def good(tmp_path):
    columns = {"ra": np.linspace(0, 300, 2000), "dec": np.zeros(2000), "flux": np.ones(2000)}
    return table_file(tmp_path, columns)


@pytest.mark.parametrize("kind", ["fits", "fits.gz", "parquet", "csv.gz"])
def test_cut_file(tmp_path, kind, good):
    if kind == "csv.gz":
        whole = gzip.compress(b"ra,dec\n" + b"1.0,2.0\n" * 1000)
    else:
        path = tmp_path / f"whole.{kind}"
        Table.read(good).write(path)
        whole = path.read_bytes()
    cut = tmp_path / f"cut.{kind}"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorruptFileError, match="cut"):
        read_star_catalogue(cut)


@pytest.mark.parametrize(
    "content",
    [
        *(b"\x89PNG\r\n\0\0\0\0 not a table", b"PAR1 and nothing more", b"\x1f\x8b\x08 torn"),
        *(
            b"SIMPLE  = T",
            b"ra,dec\n1,2\n3\n",
            b"ra,dec\n1,2,3\n",
            b"# %ECSV 1.0\n# ---\nra dec\n1 2\n",
        ),
        b"ra,dec\n1,2\n\xff\xfe,3\n"[:8] + b"\0",
        b"# %ECSV 1.0\n\xff\n",
        b"ra,dec,fl\xffx\n1,2,3\n",
    ],
)
def test_garbage(tmp_path, content):
    path = tmp_path / "garbage.csv"
    path.write_bytes(content)
    with pytest.raises(CorruptFileError, match=r"garbage\.csv"):
        read_star_catalogue(path)


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("x,y,flux\n1,2,3\n", "x, y, flux"),
        ("ra,flux\n1,2\n", "ra, flux"),
        ("10.5,3.25\n1,2\n", "10.5, 3.25"),
        ("ra\tdec\n1\t2\n", "ra\tdec"),
        ("", "none"),
        ("# only a comment\n", "none"),
        ("# %ECSV 1.0\n# ---\n# datatype:\n# - {name: x, datatype: float64}\nx\n1.0\n", "x"),
    ],
)
def test_no_positions(tmp_path, text, columns):
    with pytest.raises(InputError, match=f"no position columns.* The columns are: {columns}$"):
        read_star_catalogue(csv(tmp_path, text))


def test_fits_without_a_table(tmp_path):
    fits.PrimaryHDU(np.zeros((4, 4))).writeto(tmp_path / "image.fits")
    with pytest.raises(InputError, match=r"no position columns.*: none"):
        read_star_catalogue(tmp_path / "image.fits")


@pytest.mark.parametrize("kind", ["fits", "parquet", "ecsv"])
def test_no_rows(tmp_path, kind):
    path = table_file(tmp_path, {"ra": np.zeros(0), "dec": np.zeros(0), "flux": np.zeros(0)}, kind)
    with pytest.raises(InputError, match=r"no rows \(columns ra, dec, flux\)"):
        read_star_catalogue(path)
    with pytest.raises(InputError, match=r"no rows \(columns ra, dec\)"):
        read_star_catalogue(csv(tmp_path, "ra,dec\n"))


def test_no_position_that_is_a_number(tmp_path):
    with pytest.raises(InputError, match="no row has a position; look at its columns RA and dec"):
        read_star_catalogue(csv(tmp_path, "RA,dec\nnan,1\n10,nan\n,5\ninf,5\n"))


@pytest.mark.parametrize("ra", ["10:20:30", "10 20 30", "north"])
def test_positions_in_words(tmp_path, ra):
    with pytest.raises(InputError, match=r"column 'ra' is not all numbers.*decimal degrees"):
        read_star_catalogue(csv(tmp_path, f"ra,dec\n{ra},-10.5\n"))


def test_damaged_words(tmp_path):
    path = tmp_path / "stars.csv"
    path.write_bytes(b"ra,dec,resolved\n100,1,true\n101,2,fal\xffse\n")
    with pytest.raises(InputError, match="'resolved' is neither true nor false"):
        read_star_catalogue(path)


def test_several_numbers_a_row(tmp_path):
    path = table_file(tmp_path, {"ra": np.ones((3, 2)), "dec": np.ones(3)})
    with pytest.raises(InputError, match=r"'ra' has \(2,\) values a row"):
        read_star_catalogue(path)


def test_names_alike_but_for_case(tmp_path):
    with pytest.raises(InputError, match="columns RA, ra are alike"):
        read_star_catalogue(csv(tmp_path, "RA,ra,dec\n1,2,3\n"))


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"dec must be of the shape \(n,\) of ra \(2,\)"):
        StarCatalogue([1.0, 2.0], [1.0], [1.0, 2.0])


# Odd but good -----------------------------------------------------------------------------------


def test_rows_without_a_position_stay(tmp_path):
    got = read_star_catalogue(csv(tmp_path, "ra,dec,flux\n10,20,1\n,30,2\n11,nan,3\n12,inf,\n"))
    np.testing.assert_array_equal(got.ra, [10, np.nan, 11, 12])
    np.testing.assert_array_equal(got.dec, [20, 30, np.nan, np.nan])
    np.testing.assert_array_equal(got.flux, [1, 2, 3, np.nan])


def test_masked_cells_are_unknown(tmp_path):
    flux = MaskedColumn([1.0, 2.0], mask=[False, True])
    resolved = MaskedColumn([True, True], mask=[False, True])
    columns = {"ra": [10.0, 20.0], "dec": [1.0, 2.0], "flux": flux, "resolved": resolved}
    for kind in ("ecsv", "parquet"):
        got = read_star_catalogue(table_file(tmp_path, columns, kind))
        np.testing.assert_array_equal(got.flux, [1, np.nan])
        assert got.is_star.tolist() == [False, True]


def test_spaces_comments_and_a_byte_order_mark(tmp_path):
    path = csv(tmp_path, "\ufeff# by hand\n# on a rainy day\n ra , dec ,flux \n 10.5 , -3 , 2\n")
    got = read_star_catalogue(path)
    assert (got.ra[0], got.dec[0], got.flux[0]) == (10.5, -3, 2)


def test_whole_numbers_first_and_fractions_much_later(tmp_path):
    rows = ["10,20,1"] * 200_000 + ["10.5,20.5,1.5"]
    got = read_star_catalogue(csv(tmp_path, "ra,dec,flux\n" + "\n".join(rows)))
    assert (got.ra[-1], got.flux[-1], len(got)) == (10.5, 1.5, 200_001)


def test_first_table_with_positions(tmp_path):
    """SExtractor's LDAC files put the image's header before the table of objects."""
    head = fits.BinTableHDU.from_columns([fits.Column("Field Header Card", "10A", array=["x"])])
    columns = [
        ("ALPHA_J2000", "deg", 150.0),
        ("DELTA_J2000", "deg", 2.0),
        ("FLUX_AUTO", "count", 9),
    ]
    objects = [fits.Column(n, "D", unit=u, array=[v]) for n, u, v in columns]
    path = tmp_path / "ldac.cat"
    fits.HDUList([fits.PrimaryHDU(), head, fits.BinTableHDU.from_columns(objects)]).writeto(path)
    got = read_star_catalogue(path)
    assert (got.ra[0], got.dec[0], got.flux[0], got.name) == (150.0, 2.0, 9.0, "ldac.cat")


def test_nothing_is_said_of_a_plain_catalogue(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        read_star_catalogue(csv(tmp_path, "ra,dec,flux\n100,20,1\n"))
    assert not caplog.records


rows = st.lists(
    st.tuples(
        st.floats(0, 360, exclude_max=True),
        st.floats(-90, 90),
        st.floats(allow_infinity=False),
        st.booleans(),
    ),
    min_size=1,
    max_size=20,
)


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "fits", "fits.gz", "parquet", "ecsv"])
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=rows)
def test_round_trip(tmp_path, kind, rows):
    ra, dec, flux, star = (np.array(column) for column in zip(*rows, strict=True))
    columns = {"ra": ra, "dec": dec, "flux": flux, "is_star": star}
    if kind.startswith("csv"):
        lines = ["ra,dec,flux,is_star", *(",".join(map(repr, row)) for row in rows)]
        text = "\n".join(lines).encode()
        path = tmp_path / f"stars.{kind}"
        path.write_bytes(gzip.compress(text) if kind.endswith("gz") else text)
    else:
        path = table_file(tmp_path, columns, kind)
    got = read_star_catalogue(path)
    np.testing.assert_array_equal(got.ra, ra)
    np.testing.assert_array_equal(got.dec, dec)
    np.testing.assert_array_equal(got.flux, flux)
    np.testing.assert_array_equal(got.is_star, star)
