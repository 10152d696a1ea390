"""The page as a whole, from products on disk to HTML."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.wcs import WCS

from skydelta.detected_sources import SOURCE_DTYPE
from skydelta.detections import Detections
from skydelta.dia_source import COLUMNS
from skydelta.difference import Difference
from skydelta.errors import BadSubtractionError, TooFewStarsError
from skydelta.exposure import Exposure
from skydelta.footprints import SPAN_DTYPE
from skydelta.io.catalogues import write_catalogue
from skydelta.io.detections import write_detections
from skydelta.io.differences import write_difference
from skydelta.io.native import write_exposure
from skydelta.io.outcome import write_failure, write_status
from skydelta.io.templates import write_template
from skydelta.kernel import SpatialKernel
from skydelta.mask import Mask
from skydelta.photocalib import PhotoCalib
from skydelta.report import report_entries, write_report
from skydelta.report.entries import footprint_mask, is_flagged, load
from skydelta.report.summary import summarise

# open_product leaves a failure marker's file to the garbage collector when it raises.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

SHAPE = (128, 160)
HOSTILE = "<script>alert('1')</script> & \"more\""


def tan_wcs():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval, wcs.wcs.crpix = (55.0, -30.0), (80.5, 64.5)
    wcs.wcs.cd = np.array([[-1.0, 0.0], [0.0, 1.0]]) * 0.2 / 3600.0
    return wcs


def exposure_of(image, sigma, **more):
    return Exposure(
        image=image.astype(np.float32),
        variance=np.full(image.shape, sigma**2, np.float32),
        mask=Mask.empty(image.shape).with_plane("SAT", np.indices(image.shape)[0] < 3),
        wcs=tan_wcs(),
        photo_calib=PhotoCalib(10.0),
        band="i",
        **more,
    )


def star_at(x, y, flux, sigma=2.0):
    yy, xx = np.indices(SHAPE)
    profile = np.exp(-0.5 * ((xx - x) ** 2 + (yy - y) ** 2) / sigma**2)
    return flux * profile / (2 * np.pi * sigma**2)


def catalogue_of(x, y, flux, flagged):
    zeros = {
        c.name: np.full(len(x), "", object) if c.dtype == "U" else np.zeros(len(x), c.dtype)
        for c in COLUMNS
    }
    zeros["band"][:] = "i"
    return zeros | {
        "x": np.asarray(x, np.float32),
        "y": np.asarray(y, np.float32),
        "psfFlux": np.asarray(flux, np.float32),
        "psfFluxErr": np.full(len(x), 100, np.float32),
        "snr": np.abs(flux).astype(np.float32) / 100,
        "psfMag": (31.4 - 2.5 * np.log10(np.abs(flux))).astype(np.float32),
        "isNegative": np.asarray(flux) < 0,
        "psfFlux_flag": np.asarray(flagged, bool),
    }


class Survey:
    """Three exposures: one done, one that failed, one whose files are not there."""

    def __init__(self, folder):
        self.results = folder / "results"
        raw = folder / "raw.fits"
        rows = [
            {"visit": visit, "detector": 4, "band": "i", "path": str(raw)} for visit in (7, 8, 9)
        ]
        self.entries = report_entries(rows, self.results)
        self.rng = np.random.default_rng(3)
        self._write_done(self.entries[0])
        self._write_failed(self.entries[1])
        self.truth = folder / "truth.csv"
        self.truth.write_text(
            "visit,detector,band,object_id,kind,on_host,host_mag,ra,dec,x,y,flux_nJy,"
            "template_flux_nJy,science_flux_nJy,snr_expected,masked\n"
            "7,4,i,1,transient,1,22.0,55,-30,40.1,60.0,10100,0,10100,100,0\n"
            "7,4,i,2,transient,0,,55,-30,90.0,100.0,400,0,400,4,0\n"
            "7,4,i,3,transient,0,,55,-30,100.0,20.0,900,0,900,9,1\n"
            "8,4,i,4,transient,0,,55,-30,100.0,20.0,900,0,900,9,0\n"
        )
        self.overlaps = folder / "overlaps.csv"
        self.overlaps.write_text(
            'visit,detector,band,tract,patch,fraction_of_exposure\n7,4,i,4849,"1,2",0.9\n'
        )

    def _write_done(self, entry):
        static = star_at(110, 40, 3000)
        science = self.rng.normal(size=SHAPE) + 2 * static + star_at(40, 60, 1000)
        template = exposure_of(
            0.2 * self.rng.normal(size=SHAPE) + static, 0.2, meta={"COVERAGE": 0.987}
        )
        write_exposure(entry.science, exposure_of(science, 1.0))
        write_template(
            entry.template,
            SimpleNamespace(
                exposure=template,
                coverage=np.ones(SHAPE, np.uint8),
                noise_correlation=np.ones((1, 1)),
            ),
        )
        difference = exposure_of(
            science - 2 * template.image,
            np.hypot(1.0, 0.4),
            meta={
                "KNSTAR": 5,
                "KNREJ": 1,
                "KSUM": 2.0,
                "KORDER": 1,
                "KORDREQ": 2,
                "SCIFWHM": 4.7,
                "TMPFWHM": 4.7,
            },
            notes=("kernel order lowered from 2 to 1: " + 12 * "few stars " + HOSTILE,),
        )
        kernel = SpatialKernel.identity(SHAPE, 5)
        stars = {name: np.linspace(10, 100, 6) for name in ("x", "y", "flux", "snr")}
        stars |= {
            "used": np.arange(6) > 0,
            "reason": np.where(np.arange(6) == 0, "flux ratio", ""),
            "flux_ratio": np.linspace(0.9, 1.01, 6),
            "residual": np.linspace(2.0, 1.0, 6),
        }
        write_difference(
            entry.subtracted, Difference(difference, kernel, "template", 2.0, stars=stars)
        )
        write_exposure(entry.diffexp, difference)
        spans = np.array([(1, y, 34, 46) for y in range(54, 67)], SPAN_DTYPE)
        detections = Detections(np.zeros(0, SOURCE_DTYPE), spans, score_rms=1.02, flux_sigma=5.0)
        write_detections(entry.footprints, detections)
        write_catalogue(
            entry.catalogue,
            catalogue_of([40, 20, 150], [60, 100, 120], [1e4, -900.0, 600.0], [False, True, False]),
        )
        write_status(entry.status, {"status": "ok", "message": "", "n_sources": 3})

    def _write_failed(self, entry):
        error = TooFewStarsError(f"3 stars, need 5: {HOSTILE}")
        for path in (entry.subtracted, entry.diffexp, entry.footprints):
            write_failure(path, error, "subtract")
        write_catalogue(entry.catalogue, catalogue_of([], [], np.zeros(0), []))
        write_status(
            entry.status, {"status": error.status, "message": str(error), "stage": "subtract"}
        )

    def page(self, path, **more):
        settings = {"config": {"match": {"order": 2, "remark": HOSTILE}}, "truth": self.truth}
        write_report(path, self.entries, **{**settings, "overlaps": self.overlaps, **more})
        return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    return Survey(tmp_path_factory.mktemp("survey"))


@pytest.fixture(scope="module")
def page(survey, tmp_path_factory):
    return survey.page(tmp_path_factory.mktemp("page") / "report.html")


def test_every_exposure_has_its_row_and_section(page, survey):
    for entry in survey.entries:
        assert f'<a href="#{entry.name}">' in page
        assert f'id="{entry.name}"' in page


def test_failed_exposures_say_why_and_do_not_stop_the_others(page):
    assert "too_few_stars" in page
    assert "3 stars, need 5" in page
    assert "not_written" in page
    assert "1 of 3" in page


def test_nothing_is_fetched_from_the_network(page):
    assert not re.findall(r"(?:https?:)?//[\w.]+\.\w+", page)
    assert "@import" not in page
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert sources
    assert all(s.startswith(("data:image/png;base64,", "#")) for s in sources)


def test_hostile_text_is_escaped(page):
    assert "<script" not in page
    # In the failure's table and section, in the notes and in the configuration.
    assert page.count("&lt;script&gt;") >= 4


def test_html_is_well_formed_and_ids_are_unique(page):
    class Checker(HTMLParser):
        void = ("meta", "img", "br")

        def __init__(self):
            super().__init__()
            self.open, self.ids = [], []

        def handle_starttag(self, tag, attrs):
            if tag not in self.void:
                self.open.append(tag)
            self.ids += [value for key, value in attrs if key == "id"]

        def handle_startendtag(self, tag, attrs):
            self.ids += [value for key, value in attrs if key == "id"]

        def handle_endtag(self, tag):
            assert self.open.pop() == tag

    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    assert len(checker.ids) == len(set(checker.ids))


def test_references_inside_the_page_lead_somewhere(page):
    targets = set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', page))
    assert targets
    for name in {a or b for a, b in targets}:
        assert f'id="{name}"' in page


def test_same_input_gives_the_same_bytes(page, survey, tmp_path):
    assert survey.page(tmp_path / "again.html") == page


def test_numbers_notes_and_coadds_are_shown(page):
    assert "0.987" in page  # coverage
    assert "1 / 2" in page  # order used / asked for
    assert "kernel order lowered from 2 to 1" in page
    assert "4849 (1,2)" in page
    assert "remark:" in page


def test_truth_is_compared_over_the_exposures_that_were_done(page):
    section = page[page.index("Against the truth") : page.index("<h2>Exposures")]
    numbers = re.findall(r'<td class="n">(\d+)</td>', section)
    # Events, hidden, found, of S/N 10, found of these, false unflagged, false flagged.
    assert numbers == ["2", "1", "1", "1", "1", "1", "1"]


def test_without_truth_there_is_no_such_section(survey, tmp_path):
    text = survey.page(tmp_path / "plain.html", truth=None, overlaps=None, max_pictures=1)
    assert "Against the truth" not in text
    assert "1 of 3 exposures are shown" in text
    assert text.count('class="exposure"') == 1


def test_no_exposure_at_all(tmp_path):
    write_report(tmp_path / "empty.html", [], config={})
    assert "0 of 0" in (tmp_path / "empty.html").read_text()


def test_summary_of_an_exposure(survey):
    summary = summarise(load(survey.entries[0]))
    values = summary.values
    assert values["noise_after"] == pytest.approx(1, abs=0.03)
    assert values["neighbour_after"] == pytest.approx(0, abs=0.03)
    assert values["fwhm_science"] == pytest.approx(4.7 * 0.2, rel=1e-4)
    assert values["limit"] == pytest.approx(31.4 - 2.5 * np.log10(5 * 1.02 * 5.0 * 10.0))
    assert (values["positive"], values["negative"], values["flagged"]) == (2, 1, 1)
    assert not summary.blank[60, 40]  # a detection
    assert not summary.blank[40, 110]  # a star
    assert not summary.blank[:3].any()  # masked


def test_failed_subtraction_still_shows_its_difference(survey, tmp_path):
    moved = Survey(tmp_path)
    entry = moved.entries[0]
    write_failure(entry.footprints, BadSubtractionError("20 % above 5 sigma"), "detect")
    write_status(entry.status, {"status": "bad_subtraction", "message": "20 % above 5 sigma"})
    loaded = load(entry)
    assert loaded.status == "bad_subtraction"
    assert np.isfinite(summarise(loaded).values["noise_after"])
    text = moved.page(tmp_path / "report.html", truth=None)
    assert "<b>Difference</b>" in text


def test_footprint_mask_fills_spans_to_their_inclusive_end():
    spans = np.array([(1, 0, 1, 2), (2, 1, 3, 3)], SPAN_DTYPE)
    mask = footprint_mask((2, 4), spans)
    np.testing.assert_array_equal(mask, [[False, True, True, False], [False, False, False, True]])


def test_is_flagged_by_any_of_its_columns():
    catalogue = catalogue_of([1, 2, 3], [1, 2, 3], np.ones(3), [False, True, False])
    catalogue["pixelFlags_edge"] = np.array([False, False, True])
    assert is_flagged(catalogue).tolist() == [False, True, True]


def test_sky_sources_are_no_detections(tmp_path):
    """Neither counted, nor shown, nor false alarms; their pulls are in the survey's table."""
    survey = Survey(tmp_path)
    entry = survey.entries[0]
    before = summarise(load(entry)).values
    catalogue = catalogue_of([40, 150, 80], [60, 120, 80], [1e4, 600.0, 1e4], [False] * 3)
    catalogue["sky_source"] = np.array([False, False, True])
    write_catalogue(entry.catalogue, catalogue)
    write_status(entry.status, {"status": "ok", "message": "", "sky_flux_pull": 1.0525})
    loaded = load(entry)
    assert loaded.catalogue["x"].tolist() == [40, 150]
    values = summarise(loaded).values
    assert (values["positive"], values["sky_pull"]) == (2, 1.0525)
    assert np.isnan(before["sky_pull"])
    assert ">1.052<" in survey.page(tmp_path / "report.html")


def test_importing_the_report_does_not_load_matplotlib():
    code = "import skydelta.report, sys; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
