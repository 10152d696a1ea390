from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.io import fits

from skydelta.calibrate import COLUMNS, calibrate, empty_catalogue
from skydelta.detect import SOURCE_DTYPE, SPAN_DTYPE, Detections
from skydelta.errors import NoOverlapError
from skydelta.io.catalogues import catalogue_schema, concatenate_catalogues, write_catalogue
from skydelta.io.detections import read_detections, write_detections
from skydelta.io.differences import read_difference, read_difference_psf, write_difference
from skydelta.io.native import write_exposure
from skydelta.io.outcome import StageFailure, write_failure
from skydelta.io.products import open_product, read_image, table_hdu
from skydelta.io.sources import read_sources, write_sources
from skydelta.io.templates import read_template, write_template
from skydelta.spans import spans_of


def same_bytes(write, what, tmp_path):
    for name in ("one.fits", "two.fits"):
        write(tmp_path / name, what)
    assert (tmp_path / "one.fits").read_bytes() == (tmp_path / "two.fits").read_bytes()
    return tmp_path / "one.fits"


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
        path = same_bytes(write_catalogue, catalogue, tmp_path)
        table = pq.read_table(path)
        assert table.column_names == [c.name for c in COLUMNS]
        for column in COLUMNS:
            values = np.array(table[column.name].to_pylist(), dtype=catalogue[column.name].dtype)
            same = catalogue[column.name]
            assert np.array_equal(values, same, equal_nan=same.dtype.kind == "f"), column.name
            metadata = table.schema.field(column.name).metadata
            assert metadata[b"unit"].decode() == column.unit
            assert metadata[b"description"].decode() == column.description
        assert table.schema.field("psfFlux").metadata[b"unit"] == b"nJy"
        assert table.schema.field("ra").metadata[b"unit"] == b"deg"

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
        concatenate_catalogues([tmp_path / f"{k}.parquet" for k in "abc"], tmp_path / "all.parquet")
        table = pq.read_table(tmp_path / "all.parquet")
        count = len(catalogue["diaSourceId"])
        assert table.num_rows == 2 * count
        assert table["diaSourceId"].to_pylist()[:count] == catalogue["diaSourceId"].tolist()

    def test_concatenation_of_nothing(self, tmp_path):
        write_catalogue(tmp_path / "a.parquet", empty_catalogue())
        concatenate_catalogues([tmp_path / "a.parquet"], tmp_path / "all.parquet")
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
