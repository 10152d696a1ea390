import numpy as np
import pytest

from skydelta.calibrate import CalibrateOptions
from skydelta.dia_source import COLUMNS
from skydelta.errors import TooFewStarsError
from skydelta.io.detections import write_detections
from skydelta.io.finish import calibrated_exposure, catalogue_cards
from skydelta.io.native import write_exposure
from skydelta.io.outcome import write_failure
from skydelta.io.sources import write_sources


@pytest.fixture
def products(broad, tmp_path):
    paths = {name: tmp_path / f"{name}.fits" for name in ("sources", "diffexp", "footprints")}
    exposure = broad.decorrelated.exposure.noted(
        "subtract inputs: a.fits b.fits", "kernel order lowered from 2 to 1: 9 stars"
    )
    write_exposure(paths["diffexp"], exposure)
    write_detections(paths["footprints"], broad.detections)
    write_sources(paths["sources"], broad.columns)
    return paths


def test_catalogue_and_status(products, broad):
    catalogue, status = calibrated_exposure(7, 3, "i", **products)
    assert list(catalogue) == [c.name for c in COLUMNS]
    assert len(catalogue["diaSourceId"]) == status["n_sources"] == len(broad.detections.sources)
    assert (status["visit"], status["detector"], status["band"]) == (7, 3, "i")
    assert status["status"] == "ok"
    assert status["n_negative"] == catalogue["isNegative"].sum()
    assert status["kernel_sum"] == pytest.approx(broad.kernel.sum)
    assert status["stars_used"] == broad.difference.solution.used.sum()
    assert status["peaks_rejected"] == broad.detections.rejected
    assert status["score_rms"] == broad.detections.score_rms


def test_fluxes_are_on_the_truths_scale(products, broad):
    catalogue, _ = calibrated_exposure(7, 3, "i", **products)
    truth = broad.pair.truth
    for row in truth[(truth["snr_expected"] > 50) & (truth["masked"] == 0)]:
        k = np.argmin(np.hypot(catalogue["x"] - row["x"], catalogue["y"] - row["y"]))
        assert catalogue["psfFlux"][k] == pytest.approx(row["flux_nJy"], rel=0.1)
        off = np.hypot(
            (catalogue["ra"][k] - row["ra"]) * np.cos(np.radians(row["dec"])),
            catalogue["dec"][k] - row["dec"],
        )
        assert off * 3600 < 0.1


def test_template_fluxes_are_on_the_templates_scale(products, broad):
    """Science minus template is the difference, for bright isolated new sources and all others."""
    catalogue, _ = calibrated_exposure(7, 3, "i", **products)
    change = catalogue["scienceFlux"] - catalogue["templateFlux"]
    good = ~(catalogue["isDipole"] | catalogue["psfFlux_flag"]) & (catalogue["snr"] > 30)
    assert good.sum() >= 4
    assert np.median(change[good] / catalogue["psfFlux"][good]) == pytest.approx(1.0, abs=0.05)


def test_limiting_magnitude(products, broad):
    """A point source of `threshold` sigma; twice the threshold is 0.753 mag brighter."""
    limits = [
        calibrated_exposure(7, 3, "i", threshold=t, **products)[1]["limiting_magnitude"]
        for t in (5.0, 10.0)
    ]
    assert limits[0] - limits[1] == pytest.approx(2.5 * np.log10(2))
    assert limits[0] > 22


def test_notes_are_what_happened(products):
    notes = calibrated_exposure(7, 3, "i", **products)[1]["notes"]
    assert "kernel order lowered from 2 to 1: 9 stars" in notes
    assert not any("inputs:" in note for note in notes)


@pytest.mark.parametrize("failed", ["sources", "diffexp", "footprints"])
def test_failure_of_an_earlier_stage(products, failed):
    write_failure(products[failed], TooFewStarsError("2 stars"), "subtract")
    catalogue, status = calibrated_exposure(7, 3, "i", **products)
    assert all(len(values) == 0 for values in catalogue.values())
    assert list(catalogue) == [c.name for c in COLUMNS]
    assert status == {
        "visit": 7,
        "detector": 3,
        "band": "i",
        "status": "too_few_stars",
        "stage": "subtract",
        "message": "2 stars",
    }


def test_no_zero_point_anywhere(products, broad):
    write_exposure(products["diffexp"], broad.decorrelated.exposure.replace(photo_calib=None))
    catalogue, status = calibrated_exposure(7, 3, "i", **products)
    assert (status["status"], status["stage"]) == ("no_photo_calib", "calibrate")
    assert len(catalogue["diaSourceId"]) == 0


def test_sky_sources_are_not_counted(products, broad):
    """They are rows of the catalogue, and their pulls are in the status."""
    n = len(broad.detections.sources)
    sky = np.arange(n) > 1
    write_sources(products["sources"], broad.columns | {"sky_source": sky})
    catalogue, status = calibrated_exposure(7, 3, "i", **products)
    assert len(catalogue["diaSourceId"]) == n
    assert status["n_sources"] == np.count_nonzero(~sky)
    assert status["n_sky_sources"] == np.count_nonzero(sky)
    assert status["n_negative"] == np.count_nonzero(catalogue["isNegative"] & ~sky)
    pulls = (catalogue["psfFlux"] / catalogue["psfFluxErr"])[sky & ~catalogue["psfFlux_flag"]]
    assert status["sky_flux_pull"] == pytest.approx(np.sqrt(np.mean(pulls**2)), rel=1e-5)


def test_without_sky_sources_there_is_no_pull(products, broad):
    _, status = calibrated_exposure(7, 3, "i", **products)
    assert status["n_sources"] == len(broad.detections.sources)
    assert (status["n_sky_sources"], status["sky_flux_pull"]) == (0, None)


def test_cards_say_what_the_numbers_mean(products):
    options = CalibrateOptions(zero_point_error=True)
    _, status = calibrated_exposure(7, 3, "i", options=options, **products)
    cards = {name: value for name, (value, _) in catalogue_cards(status).items()}
    assert cards["TIMESYS"] == "TAI"
    assert cards["TIMEFROM"] == "UTC by FITS default"
    assert cards["ZPERRINC"] is True
    assert cards["NOTMEAS"].split() == status["columns_not_measured"]
    assert catalogue_cards({"status": "too_few_stars"}) == {}
