import math
import os

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from skydelta import sphere
from skydelta.errors import InputError
from skydelta.io.footprints import footprint_of
from skydelta.io.tracts_mapping import write_tracts_mapping
from skydelta.overlap import Overlap, find_coverage, find_overlaps, overlap_edges, survey_overlaps
from skydelta.tables import CoaddRow, ExposureRow

SIZE = 400
SCALE = 0.2 / 3600  # deg per pixel


def tan_wcs(ra, dec, *, dx=0.0, dy=0.0, angle=0.0, crpix=(SIZE + 1) / 2):
    """A square image shifted by dx, dy pixels on the plane tangent at ra, dec, then turned."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval = ra, dec
    wcs.wcs.crpix = crpix - dx, crpix - dy
    c, s = math.cos(angle), math.sin(angle)
    wcs.wcs.cd = np.array([[-c, s], [s, c]]) * SCALE
    return wcs


class Sky:
    """Tables and footprints without any file."""

    def __init__(self):
        self.exposures, self.coadds, self.footprints = [], [], {}

    def exposure(self, wcs, band="i"):
        row = ExposureRow(len(self.exposures) + 1, 0, band, f"/e{len(self.exposures)}")
        self.exposures.append(row)
        self.footprints[row.path] = footprint_of(wcs, (SIZE, SIZE))
        return self

    def coadd(self, wcs, band="i", shape=(SIZE, SIZE)):
        row = CoaddRow(5, (len(self.coadds), 0), band, f"/c{len(self.coadds)}")
        self.coadds.append(row)
        self.footprints[row.path] = footprint_of(wcs, shape)
        return self

    def survey(self, **options):
        return survey_overlaps(self.exposures, self.coadds, footprints=self.footprints, **options)

    def fractions(self, **options):
        return {o.patch[0]: o.fraction for o in self.survey(**options)[0]}

    def covered(self, **options):
        (coverage,) = self.survey(**options)[1]
        return coverage


POSITIONS = [(57.0, -31.0), (0.0, 0.0), (359.999, 60.0), (10.0, 90.0), (200.0, -90.0)]


@pytest.mark.parametrize(("ra", "dec"), POSITIONS)
class TestFractions:
    def test_same_grid(self, ra, dec):
        sky = Sky().exposure(tan_wcs(ra, dec)).coadd(tan_wcs(ra, dec))
        assert sky.fractions() == {0: 1.0}
        assert sky.covered().status == "ok"
        assert sky.covered().fraction == 1.0

    def test_half(self, ra, dec):
        sky = Sky().exposure(tan_wcs(ra, dec)).coadd(tan_wcs(ra, dec, dx=SIZE / 2))
        assert sky.fractions()[0] == pytest.approx(0.5, abs=1e-6)

    def test_quarters_make_one(self, ra, dec):
        sky = Sky().exposure(tan_wcs(ra, dec))
        for dx in (-SIZE / 2, SIZE / 2):
            for dy in (-SIZE / 2, SIZE / 2):
                sky.coadd(tan_wcs(ra, dec, dx=dx, dy=dy))
        assert list(sky.fractions().values()) == pytest.approx([0.25] * 4, abs=1e-6)
        assert sky.covered().fraction == pytest.approx(1.0, abs=1e-9)
        assert sky.covered().n_coadds == 4

    def test_overlapping_patches_count_once(self, ra, dec):
        """Two patches over 0.75 of the exposure each, 0.5 shared."""
        sky = Sky().exposure(tan_wcs(ra, dec))
        sky.coadd(tan_wcs(ra, dec, dx=-SIZE / 4)).coadd(tan_wcs(ra, dec, dx=SIZE / 4))
        assert sum(sky.fractions().values()) == pytest.approx(1.5, abs=1e-6)
        assert sky.covered().fraction == pytest.approx(1.0, abs=1e-9)
        sky = Sky().exposure(tan_wcs(ra, dec))
        sky.coadd(tan_wcs(ra, dec, dx=SIZE / 2)).coadd(tan_wcs(ra, dec, dy=SIZE / 2))
        assert sky.covered().fraction == pytest.approx(0.75, abs=1e-6)

    def test_rotated_patch(self, ra, dec):
        sky = Sky().exposure(tan_wcs(ra, dec)).coadd(tan_wcs(ra, dec, angle=math.pi / 4))
        assert sky.fractions()[0] == pytest.approx(2 * (math.sqrt(2) - 1), abs=1e-6)

    def test_boxes_overlap_but_polygons_do_not(self, ra, dec):
        """The exposure lies in the corner that a turned patch leaves free of its bounding box."""
        turned = tan_wcs(ra, dec, angle=math.pi / 4, crpix=(2 * SIZE + 1) / 2)
        sky = Sky().exposure(tan_wcs(ra, dec, dx=SIZE * 1.3, dy=SIZE * 1.3))
        sky.coadd(turned, shape=(2 * SIZE, 2 * SIZE))
        assert sky.fractions() == {}
        assert sky.covered().status == "no_overlap"


def test_union_agrees_with_monte_carlo():
    rng = np.random.default_rng(11)
    sky = Sky().exposure(tan_wcs(57, -31, angle=0.3))
    shapes = []
    for _ in range(7):
        dx, dy = rng.uniform(-SIZE, SIZE, 2)
        shapes.append(tan_wcs(57, -31, dx=dx, dy=dy, angle=rng.uniform(0, 6)))
        sky.coadd(shapes[-1])
    x, y = rng.uniform(-0.5, SIZE - 0.5, (2, 200_000))
    position = tan_wcs(57, -31, angle=0.3).all_pix2world(x, y, 0)
    hit = np.zeros(x.size, bool)
    for wcs in shapes:
        u, v = wcs.all_world2pix(*position, 0)
        hit |= (np.abs(u - (SIZE - 1) / 2) < SIZE / 2) & (np.abs(v - (SIZE - 1) / 2) < SIZE / 2)
    assert 0.3 < hit.mean() < 1.0
    assert sky.covered().fraction == pytest.approx(hit.mean(), abs=0.004)


def test_distorted_coadd_is_tiled_not_boxed():
    """A pincushion coadd covers what its pixels cover: an outline that is not convex."""
    head = tan_wcs(57, -31).to_header()
    head["CTYPE1"], head["CTYPE2"] = "RA---TAN-SIP", "DEC--TAN-SIP"
    head.update(dict.fromkeys(("A_3_0", "A_1_2", "B_0_3", "B_2_1"), 1e-6))
    head.update({"A_ORDER": 3, "B_ORDER": 3})
    wcs = WCS(head)
    sky = Sky().exposure(tan_wcs(57, -31, dx=SIZE * 0.9)).coadd(wcs)
    x, y = np.meshgrid(np.arange(SIZE), np.arange(SIZE))
    r2 = (x - (SIZE - 1) / 2) ** 2 + (y - (SIZE - 1) / 2) ** 2
    pixel_area = (1 + 1e-6 * r2) * (1 + 3e-6 * r2)  # Jacobian of u (1 + k r^2)
    on_sky = wcs.all_pix2world(x.ravel(), y.ravel(), 0)
    pixels = tan_wcs(57, -31, dx=SIZE * 0.9).all_world2pix(*on_sky, 0)
    inside = np.all(np.abs(np.array(pixels) - (SIZE - 1) / 2) < SIZE / 2, axis=0)
    expected = pixel_area.ravel()[inside].sum() / SIZE**2
    assert not sphere.is_convex(sky.footprints["/c0"].outline)
    assert sky.fractions()[0] == pytest.approx(expected, abs=1e-3)


def test_only_coadds_of_the_same_band():
    sky = Sky().exposure(tan_wcs(57, -31), "i")
    sky.coadd(tan_wcs(57, -31), "r").coadd(tan_wcs(57, -31), "i")
    assert list(sky.fractions()) == [1]
    coverage = Sky().exposure(tan_wcs(57, -31), "i").coadd(tan_wcs(57, -31), "r").covered()
    assert coverage.status == "no_overlap"
    assert "bands of the coadds: r" in coverage.message


def test_margin_adds_a_neighbour_of_an_exposure_that_is_covered():
    sky = Sky().exposure(tan_wcs(57, -31)).coadd(tan_wcs(57, -31))
    sky.coadd(tan_wcs(57, -31, dx=SIZE + 5)).coadd(tan_wcs(57, -31, dx=SIZE + 15))
    assert sky.fractions() == {0: 1.0, 1: 0.0}
    assert sky.fractions(margin_px=0) == {0: 1.0}
    assert sky.fractions(margin_px=20) == {0: 1.0, 1: 0.0, 2: 0.0}


def test_near_miss_is_no_overlap():
    sky = Sky().exposure(tan_wcs(57, -31)).coadd(tan_wcs(57, -31, dx=SIZE + 5))
    assert sky.fractions() == {}
    coverage = sky.covered()
    assert (coverage.status, coverage.fraction, coverage.n_coadds) == ("no_overlap", 0.0, 0)
    assert "5-0,0-i, is centred 0.022 deg away" in coverage.message
    assert "RA 57.0000, Dec -31.0000" in coverage.message


def test_unreadable_inputs_are_reported_one_by_one(caplog):
    sky = Sky().exposure(tan_wcs(57, -31)).exposure(tan_wcs(57, -31)).exposure(tan_wcs(80, 0))
    sky.coadd(tan_wcs(57, -31)).coadd(tan_wcs(57, -31))
    sky.footprints["/e0"] = InputError("broken in a way")
    sky.footprints["/c1"] = InputError("no good")
    overlaps, coverage = sky.survey()
    assert [(o.visit, o.patch) for o in overlaps] == [(2, (0, 0))]
    assert [c.status for c in coverage] == ["bad_input", "ok", "no_overlap"]
    assert coverage[0].message == "broken in a way"
    assert math.isnan(coverage[0].fraction)
    assert "coadd 5-1,0-i is left out: no good" in caplog.text
    assert "1 coadds could not be read" in coverage[2].message


def test_many_unreadable_coadds_are_not_listed_for_ever(caplog):
    sky = Sky().exposure(tan_wcs(57, -31))
    for _ in range(30):
        sky.coadd(tan_wcs(57, -31))
    footprints = {"/e0": sky.footprints["/e0"]}
    assert find_overlaps(sky.exposures, sky.coadds, footprints) == []
    (coverage,) = find_coverage(sky.exposures, sky.coadds, footprints, [])
    assert coverage.status == "no_overlap"
    assert len(caplog.records) == 11
    assert "20 more coadds" in caplog.text


def test_rows_are_sorted_whatever_the_order_of_the_tables():
    sky = Sky()
    for _ in range(3):
        sky.exposure(tan_wcs(57, -31)).coadd(tan_wcs(57, -31))
    forward, _ = sky.survey()
    sky.exposures.reverse()
    sky.coadds.reverse()
    backward, coverage = sky.survey()
    assert forward == backward
    assert [c.visit for c in coverage] == [3, 2, 1]


class TestMapping:
    def test_decides_which_coadds_are_used(self, tmp_path):
        sky = Sky().exposure(tan_wcs(57, -31)).exposure(tan_wcs(57, -31))
        sky.coadd(tan_wcs(57, -31)).coadd(tan_wcs(57, -31, dx=SIZE / 2)).coadd(tan_wcs(57, -31))
        path = tmp_path / "tracts_mapping.sqlite3"
        rows = [
            Overlap(1, 0, "i", 5, (1, 0), 0.0),
            Overlap(1, 0, "i", 99, (0, 0), 0.0),  # not among the coadds
            Overlap(77, 0, "i", 5, (1, 0), 0.0),  # not among the exposures
        ]
        write_tracts_mapping(path, rows)
        overlaps, coverage = sky.survey(mapping=path)
        assert [(o.visit, o.coadd_key) for o in overlaps] == [(1, (5, (1, 0), "i"))]
        assert overlaps[0].fraction == pytest.approx(0.5, abs=1e-6)
        assert [c.status for c in coverage] == ["ok", "no_overlap"]
        edges = overlap_edges(sky.exposures, sky.coadds, mapping=path, footprints=sky.footprints)
        assert edges == {(1, 0, "i"): [sky.coadds[1]], (2, 0, "i"): []}

    def test_unusable_mapping_stops_everything(self, tmp_path):
        sky = Sky().exposure(tan_wcs(57, -31)).coadd(tan_wcs(57, -31))
        (tmp_path / "m.sqlite3").write_text("no database at all" * 10)
        with pytest.raises(InputError, match=r"m\.sqlite3"):
            sky.survey(mapping=tmp_path / "m.sqlite3")


class TestEdges:
    @pytest.fixture
    def files(self, tmp_path):
        def write(name, wcs):
            path = tmp_path / name
            fits.PrimaryHDU(np.zeros((SIZE, SIZE), np.int16), wcs.to_header()).writeto(
                path, overwrite=True
            )
            return str(path)

        exposures = [
            ExposureRow(1, 0, "i", write("e.fits", tan_wcs(57, -31))),
            ExposureRow(2, 0, "i", str(tmp_path / "missing.fits")),
        ]
        coadds = [
            CoaddRow(5, (1, 0), "i", write("c1.fits", tan_wcs(57, -31, dx=SIZE / 2))),
            CoaddRow(5, (0, 0), "i", write("c0.fits", tan_wcs(57, -31, dx=-SIZE / 2))),
            CoaddRow(5, (2, 0), "i", str(tmp_path / "missing_too.fits")),
        ]
        return exposures, coadds, write

    def test_from_headers(self, files):
        exposures, coadds, _ = files
        edges = overlap_edges(exposures, coadds)
        assert edges == {(1, 0, "i"): [coadds[1], coadds[0]], (2, 0, "i"): []}
        overlaps, coverage = survey_overlaps(exposures, coadds)
        assert [o.coadd_key for o in overlaps] == [c.key for c in edges[1, 0, "i"]]
        assert [c.status for c in coverage] == ["ok", "missing_file"]

    def test_cache_saves_all_reading_until_a_file_changes(self, files, tmp_path, monkeypatch):
        exposures, coadds, write = files
        cache = tmp_path / "cache"
        first = overlap_edges(exposures, coadds, cache=cache)
        with monkeypatch.context() as patch:
            patch.setattr("skydelta.overlap.read_footprints", None)
            assert overlap_edges(exposures, coadds, cache=cache) == first
        write("e.fits", tan_wcs(57, -31, dx=SIZE))
        os.utime(exposures[0].path, ns=(1, 1))
        assert overlap_edges(exposures, coadds, cache=cache)[1, 0, "i"] == [coadds[0]]
        write("missing.fits", tan_wcs(57, -31))
        assert overlap_edges(exposures, coadds, cache=cache)[2, 0, "i"] == [coadds[1], coadds[0]]

    def test_cache_knows_tables_and_margin(self, files, tmp_path):
        exposures, coadds, _ = files
        cache = tmp_path / "cache"
        overlap_edges(exposures, coadds, cache=cache)
        assert overlap_edges(exposures, coadds[:1], cache=cache)[1, 0, "i"] == coadds[:1]
        assert overlap_edges(exposures[1:], coadds, cache=cache) == {(2, 0, "i"): []}

    def test_images_that_do_not_exist_yet(self, tmp_path):
        """The demo: the geometry is known before the simulator has drawn a pixel."""
        sky = Sky().exposure(tan_wcs(57, -31)).coadd(tan_wcs(57, -31))
        edges = overlap_edges(sky.exposures, sky.coadds, footprints=sky.footprints, cache=tmp_path)
        assert edges == {(1, 0, "i"): sky.coadds}
        assert overlap_edges(sky.exposures, sky.coadds, cache=tmp_path) == {(1, 0, "i"): []}
