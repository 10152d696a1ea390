import subprocess
import sys
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import Table

from skydelta.calibrate import calibrate
from skydelta.detected_sources import SOURCE_DTYPE
from skydelta.detections import Detections
from skydelta.dia_source import COLUMNS, empty_catalogue
from skydelta.errors import NoOverlapError
from skydelta.footprints import SPAN_DTYPE
from skydelta.io.catalogues import (
    catalogue_schema,
    concatenate_catalogues,
    read_catalogue,
    write_catalogue,
)
from skydelta.io.detections import read_detections, write_detections
from skydelta.io.differences import read_difference, read_difference_psf, write_difference
from skydelta.io.native import write_exposure
from skydelta.io.outcome import StageFailure, write_failure
from skydelta.io.products import open_product, read_image, table_hdu
from skydelta.io.sources import read_sources, write_sources
from skydelta.io.templates import read_template, write_template
from skydelta.spans import spans_of


def same_bytes(write, what, tmp_path, suffix=".fits"):
    one, two = tmp_path / f"one{suffix}", tmp_path / f"two{suffix}"
    for path in (one, two):
        write(path, what)
    assert one.read_bytes() == two.read_bytes()
    return one


def test_template(broad, tmp_path):
    path = same_bytes(write_template, broad.template, tmp_path)
    exposure, correlation = read_template(path)
    assert np.array_equal(exposure.image, broad.template.exposure.image)
    assert np.array_equal(correlation, broad.template.noise_correlation)
    assert exposure.meta["NCOADD"] == 1
    with fits.open(path) as hdul:
        assert np.array_equal(hdul["COVERAGE"].data, broad.template.coverage)


class TestDifference:
    def test_kernel_comes_back(self, broad, tmp_path):
        path = same_bytes(write_difference, broad.difference, tmp_path)
        back = read_difference(path)
        exposure, kernel = back.exposure, back.kernel
        assert np.array_equal(exposure.image, broad.difference.exposure.image)
        assert np.array_equal(exposure.variance, broad.difference.exposure.variance, equal_nan=True)
        assert kernel.sum == pytest.approx(broad.kernel.sum, rel=1e-12)
        assert kernel.image(100, 400) == pytest.approx(broad.kernel.image(100, 400), abs=1e-12)
        box = 290, 300, 0, 512
        assert np.array_equal(kernel.background.box(*box), broad.kernel.background.box(*box))
        assert back.flux_ratio == pytest.approx(broad.difference.flux_ratio, rel=1e-12)
        assert back.flux_error == pytest.approx(broad.difference.flux_error, rel=1e-6)
        assert (back.convolved, back.white) == ("template", False)
        assert back.detection_filter is back.score is back.science_psf is None
        assert set(back.stars) == set(broad.difference.stars)

    def test_stars_and_kernel_images(self, broad, tmp_path):
        write_difference(tmp_path / "a.fits", broad.difference)
        with fits.open(tmp_path / "a.fits") as hdul:
            stars = hdul["KERNSTAR"].data
            assert np.array_equal(stars["used"], broad.difference.solution.used)
            assert set(stars["reason"]) <= {"", "flux ratio", "residual", "no weight"}
            assert (stars["used"] == (stars["reason"] == "")).all()
            grid = hdul["KERNGRID"].data
            assert len(grid) == 25
            k = 7
            assert grid["kernel"][k] == pytest.approx(
                broad.kernel.image(grid["x"][k], grid["y"][k]), abs=1e-10
            )

    def test_psf_is_the_science_images(self, broad, tmp_path):
        write_difference(tmp_path / "a.fits", broad.difference)
        psf = read_difference_psf(tmp_path / "a.fits")
        assert psf.stamp(256, 256) == pytest.approx(broad.science.psf.stamp(256, 256), abs=1e-8)


class TestDetections:
    def test_round_trip(self, broad, tmp_path):
        halo = spans_of("HALO", np.eye(30, dtype=bool))
        detections = replace(broad.detections, planes=halo)
        path = same_bytes(write_detections, detections, tmp_path)
        back = read_detections(path)
        assert back.sources.dtype == SOURCE_DTYPE
        for name in SOURCE_DTYPE.names:
            assert np.array_equal(
                back.sources[name],
                broad.detections.sources[name],
                equal_nan=SOURCE_DTYPE[name].kind == "f",
            )
        assert np.array_equal(back.spans, broad.detections.spans)
        assert back.score_rms == broad.detections.score_rms
        assert back.rejected == broad.detections.rejected
        assert np.array_equal(back.planes, halo)
        assert back.artefacts == broad.detections.artefacts

    def test_empty(self, tmp_path):
        none = Detections(
            np.zeros(0, SOURCE_DTYPE), np.zeros(0, SPAN_DTYPE), np.nan, np.inf, {"sat_template": 3}
        )
        write_detections(tmp_path / "a.fits", none)
        back = read_detections(tmp_path / "a.fits")
        assert len(back.sources) == len(back.spans) == len(back.planes) == 0
        assert np.isnan(back.score_rms)
        assert back.flux_sigma == np.inf
        assert back.rejected == {"sat_template": 3}


class TestSources:
    def test_round_trip(self, broad, tmp_path):
        path = same_bytes(write_sources, broad.columns, tmp_path)
        back = read_sources(path)
        assert list(back) == list(broad.columns)
        for name, values in broad.columns.items():
            assert np.array_equal(back[name], values, equal_nan=values.dtype.kind == "f"), name
            assert back[name].dtype.kind == values.dtype.kind
            assert back[name].dtype.isnative

    def test_units(self, broad, tmp_path):
        write_sources(tmp_path / "a.fits", broad.columns)
        with fits.open(tmp_path / "a.fits") as hdul:
            units = {c.name: c.unit for c in hdul["SOURCES"].columns}
        assert units["base_PsfFlux_instFlux"] == "count"
        assert units["base_PsfFlux_instFluxErr"] == "count"
        assert units["coord_ra"] == "rad"
        assert units["base_NaiveCentroid_xErr"] == "pix"
        assert units["base_SdssShape_xx"] == "pix2"
        assert units["base_PsfFlux_flag"] is None

    def test_none(self, broad, tmp_path):
        none = {name: values[:0] for name, values in broad.columns.items()}
        write_sources(tmp_path / "a.fits", none)
        back = read_sources(tmp_path / "a.fits")
        assert list(back) == list(none)
        assert all(len(v) == 0 for v in back.values())


class TestCatalogue:
    @pytest.fixture
    def catalogue(self, broad):
        return calibrate(broad.columns, broad.decorrelated.exposure, 12, 3, template_scale=0.5)

    def test_round_trip_and_units(self, catalogue, tmp_path):
        path = same_bytes(write_catalogue, catalogue, tmp_path, ".parquet")
        back = read_catalogue(path)
        schema = pq.read_schema(path)
        assert list(back) == [c.name for c in COLUMNS]
        for column in COLUMNS:
            self.assert_same(back[column.name], catalogue[column.name], column)
            metadata = schema.field(column.name).metadata
            assert metadata[b"unit"].decode() == column.unit
            assert metadata[b"description"].decode() == column.description
        assert schema.field("psfFlux").metadata[b"unit"] == b"nJy"
        assert schema.field("ra").metadata[b"unit"] == b"deg"

    def test_writing_does_not_import_pandas(self, tmp_path):
        code = (
            "import sys; from skydelta.io.catalogues import write_catalogue;"
            "from skydelta.dia_source import empty_catalogue;"
            f"write_catalogue({str(tmp_path / 'a.parquet')!r}, empty_catalogue());"
            "sys.exit('pandas' in sys.modules)"
        )
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

    def test_text_beyond_ascii_and_none(self, catalogue, tmp_path):
        n = len(catalogue["band"])
        words = ["β", None, *["i"] * (n - 2)]
        write_catalogue(tmp_path / "a.parquet", catalogue | {"reliabilityVersion": words})
        assert pq.read_table(tmp_path / "a.parquet")["reliabilityVersion"].to_pylist() == words

    def test_fits(self, catalogue, tmp_path):
        path = same_bytes(write_catalogue, catalogue, tmp_path, ".fits")
        table = Table.read(path)
        assert table.colnames == [c.name for c in COLUMNS]
        with fits.open(path) as hdul:
            header = hdul["DIASOURCE"].header
        for k, column in enumerate(COLUMNS, 1):
            self.assert_same(table[column.name], catalogue[column.name], column)
            assert header.get(f"TUNIT{k}", "") == column.unit
            assert header[f"TCOMM{k}"] == column.description
            if column.dtype != "U":
                assert table[column.name].dtype.newbyteorder("=") == np.dtype(column.dtype)

    @staticmethod
    def assert_same(back, values, column):
        if column.dtype == "U":
            assert ["" if v is None else v for v in np.ma.filled(back, "")] == [
                "" if v is None else v for v in values
            ], column.name
            return
        # astropy masks what is NaN or null alike.
        none = np.nan if column.dtype.startswith("f") else 0
        filled, expected = np.ma.filled(back, none), np.ma.filled(values, none)
        assert np.array_equal(filled, expected, equal_nan=none != 0), column.name

    def test_blends_name_their_parents_and_others_are_null(self, catalogue, tmp_path):
        parents = np.ma.masked_all(len(catalogue["diaSourceId"]), np.int64)
        parents[1] = catalogue["diaSourceId"][0]
        blended = catalogue | {"parentDiaSourceId": parents}
        write_catalogue(tmp_path / "a.parquet", blended)
        expected = [None, int(parents[1]), *[None] * (len(parents) - 2)]
        assert pq.read_table(tmp_path / "a.parquet")["parentDiaSourceId"].to_pylist() == expected
        write_catalogue(tmp_path / "a.fits", blended)
        assert Table.read(tmp_path / "a.fits")["parentDiaSourceId"].tolist() == expected

    @pytest.mark.filterwarnings("ignore::astropy.utils.exceptions.AstropyUserWarning")
    def test_left_out_text_is_read_by_astropy(self, catalogue, tmp_path):
        none = np.full(len(catalogue["diaSourceId"]), "", object)
        write_catalogue(tmp_path / "a.parquet", catalogue | {"reliabilityVersion": none})
        assert set(Table.read(tmp_path / "a.parquet")["reliabilityVersion"]) == {""}

    def test_another_format(self, catalogue, tmp_path):
        with pytest.raises(ValueError, match=r"a\.csv: a catalogue is written as \.parquet or"):
            write_catalogue(tmp_path / "a.csv", catalogue)

    def test_provenance(self, catalogue, tmp_path):
        provenance = {"SKYDVER": ("1.2", "version")}, ("calibrate inputs: a.fits",)
        write_catalogue(tmp_path / "a.parquet", catalogue, provenance)
        metadata = pq.read_schema(tmp_path / "a.parquet").metadata
        assert metadata[b"SKYDVER"] == b"1.2"
        assert metadata[b"history"] == b"calibrate inputs: a.fits"

    def test_concatenation(self, catalogue, tmp_path):
        write_catalogue(tmp_path / "a.parquet", catalogue)
        write_catalogue(tmp_path / "b.parquet", empty_catalogue())
        write_catalogue(tmp_path / "c.parquet", catalogue, ({"X": ("1", "")}, ()))
        targets = [tmp_path / "all.parquet", tmp_path / "all.fits"]
        concatenate_catalogues(
            [tmp_path / f"{k}.parquet" for k in "abc"], targets, ({"SKYDVER": ("1.2", "")}, ())
        )
        assert Table.read(targets[1])["diaSourceId"].tolist() == 2 * list(catalogue["diaSourceId"])
        assert set(fits.getdata(targets[1])["reliabilityVersion"]) == {"1"}
        assert set(fits.getdata(targets[1])["band"]) == {"i"}
        assert fits.getheader(targets[1])["SKYDVER"] == "1.2"
        assert pq.read_schema(targets[0]).metadata[b"SKYDVER"] == b"1.2"
        table = pq.read_table(targets[0])
        count = len(catalogue["diaSourceId"])
        assert table.num_rows == 2 * count
        assert table["diaSourceId"].to_pylist()[:count] == catalogue["diaSourceId"].tolist()

    def test_concatenation_of_nothing(self, tmp_path):
        write_catalogue(tmp_path / "a.parquet", empty_catalogue())
        targets = [tmp_path / "all.parquet", tmp_path / "all.fits"]
        concatenate_catalogues([tmp_path / "a.parquet"], targets)
        assert len(Table.read(targets[1])) == 0
        table = pq.read_table(tmp_path / "all.parquet")
        assert table.num_rows == 0
        assert table.schema.names == catalogue_schema().names


class TestFailures:
    @pytest.mark.parametrize(
        "reader",
        [
            read_template,
            read_difference,
            read_image,
            read_difference_psf,
            read_detections,
            read_sources,
        ],
    )
    def test_every_reader_meets_the_failure(self, reader, tmp_path):
        write_failure(tmp_path / "a.fits", NoOverlapError("no coadd"), "template")
        with pytest.raises(StageFailure, match="no coadd") as caught:
            reader(tmp_path / "a.fits")
        assert caught.value.status == "no_overlap"
        assert caught.value.stage == "template"

    def test_open_product(self, broad, tmp_path):
        write_exposure(tmp_path / "a.fits", broad.science)
        with open_product(tmp_path / "a.fits") as hdul:
            assert "IMAGE" in hdul
            image = hdul["IMAGE"].data
        assert image.shape == broad.science.shape


@pytest.mark.parametrize(
    "values",
    [
        np.arange(3, dtype="i8"),
        np.array([True, False, True]),
        np.linspace(0, 1, 3).astype("f4"),
        np.array(["a", "bcd", ""]),
        np.arange(6.0).reshape(3, 2),
        np.arange(12.0).reshape(3, 2, 2),
    ],
)
def test_table_keeps_types_and_shapes(values, tmp_path):
    hdu = table_hdu({"v": values}, "T", {"v": "pix"}, {"CARD": 3})
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(tmp_path / "t.fits")
    with fits.open(tmp_path / "t.fits") as hdul:
        back = np.array(hdul["T"].data["v"])
        assert hdul["T"].header["CARD"] == 3
        assert hdul["T"].columns["v"].unit == "pix"
    assert back.shape == values.shape
    assert (back == values).all()
