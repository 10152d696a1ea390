"""Measurement of sources that are not alone: blends, dipoles, extended ones."""

import numpy as np
import pytest
from measured import FWHM, NORM, SHAPE, SIGMA, detections_of, exposure_of, many_sources, run
from scenes import make_exposure, star_field, white_noise

from skydelta.detect import detect
from skydelta.footprints import SPAN_DTYPE
from skydelta.measure import MeasureOptions, measure


@pytest.mark.parametrize(("distance", "tolerance"), [(2.5, 0.02), (1.5, 0.04)])
def test_blends(distance, tolerance):
    """Fluxes of two overlapping sources, fitted in turn, unbiased to a few percent."""
    ratios = []
    for seed in range(20):
        x = np.array([150.0, 150.0 + distance * FWHM])
        flux = np.array([100.0, 60.0]) / NORM
        exposure = exposure_of(x, [150.3, 149.8], flux, seed=seed)
        detections = detections_of(
            x, [150.0, 150.0], footprint=1, n_peaks=2, is_deblended=True, score=[100.0, 60.0]
        )
        columns = run(exposure, detections)
        ratios.append(columns["base_PsfFlux_instFlux"] / flux)
        assert columns["deblend_blended"].all()
        assert (columns["deblend_nPeaks"] == 2).all()
    assert np.mean(ratios, axis=0) == pytest.approx([1, 1], abs=tolerance)


class TestDipole:
    """A star 1.5 px off between the images, and a transient alone."""

    NAME = "ip_diffim_DipoleFit"

    @pytest.fixture(scope="class")
    @classmethod
    def columns(cls):
        flux = np.array([300, 60]) / NORM
        science = exposure_of([150.0, 80.0], [150.0, 80.0], flux, noise=0.7)
        template = exposure_of([151.5, 80.0], [150.0, 80.0], flux * [1, 0], noise=0.7, seed=1)
        difference = science.replace(
            image=science.image - template.image, variance=science.variance + template.variance
        )
        return measure(difference, science, template, detect(difference))

    def test_classification(self, columns):
        dipole = columns[f"{self.NAME}_flag_classification"]
        assert sorted(dipole.tolist()) == [False, True]
        assert columns[f"{self.NAME}_flag_classificationAttempted"][dipole].all()
        assert not columns[f"{self.NAME}_flag"].any()
        assert not columns[f"{self.NAME}_flag_edge"].any()

    def test_lobes(self, columns):
        k = np.flatnonzero(columns[f"{self.NAME}_flag_classification"])[0]
        value = {name.removeprefix(f"{self.NAME}_"): column[k] for name, column in columns.items()}
        flux = 300 / NORM
        assert value["pos_instFlux"] == pytest.approx(flux, rel=0.02)
        assert value["neg_instFlux"] == pytest.approx(-flux, rel=0.02)
        assert value["instFlux"] == pytest.approx(flux, rel=0.02)
        assert abs(value["fluxDiff"]) < 4 * value["fluxDiffErr"]
        assert value["pos_centroid_x"] == pytest.approx(150.0, abs=0.1)
        assert value["neg_centroid_x"] == pytest.approx(151.5, abs=0.1)
        assert value["centroid_x"] == pytest.approx(150.75, abs=0.1)
        assert value["separation"] == pytest.approx(1.5, abs=0.1)
        assert abs(value["orientation"]) == pytest.approx(np.pi, abs=0.1)
        assert value["chi2dof"] == pytest.approx(1.0, abs=0.3)
        assert value["signalToNoise"] > 100

    def test_flux_and_position_are_those_of_one_psf_on_the_pair(self, columns):
        k = np.flatnonzero(columns[f"{self.NAME}_flag_classification"])[0]
        assert columns["base_NaiveCentroid_x"][k] == columns[f"{self.NAME}_centroid_x"][k]
        flux, error = (columns[f"base_PsfFlux_{n}"][k] for n in ("instFlux", "instFluxErr"))
        assert abs(flux) < 5 * error
        assert columns["is_negative"][k] == np.False_

    def test_others_have_no_lobes(self, columns):
        k = np.flatnonzero(~columns[f"{self.NAME}_flag_classification"])[0]
        assert np.isnan(columns["ip_diffim_NaiveDipoleCentroid_neg_x"][k])
        assert columns["base_PsfFlux_instFlux"][k] == pytest.approx(60 / NORM, rel=0.1)

    def test_without_the_fits_pairs_of_peaks_are_dipoles(self):
        exposure = exposure_of([147.0, 153.0], [150.0, 150.0], np.array([80, -60]) / NORM)
        off = run(exposure, detect(exposure), options=MeasureOptions(dipoles=False))
        assert off[f"{self.NAME}_flag_classification"].tolist() == [True]
        assert not off[f"{self.NAME}_flag_classificationAttempted"].any()

    def test_new_beside_vanished_are_two_sources(self):
        """Opposite peaks within 1.5 FWHM that share no star: fluxes of their own."""
        x, y, flux = [147.0, 151.5], [150.0, 150.0], np.array([80.0, 0.0]) / NORM
        science = exposure_of(x, y, flux, noise=0.7)
        template = exposure_of(x, y, np.array([0.0, 30.0]) / NORM, noise=0.7, seed=1)
        difference = science.replace(
            image=science.image - template.image, variance=science.variance + template.variance
        )
        detections = detect(difference)
        assert detections.sources["is_dipole"].tolist() == [True]
        columns = measure(difference, science, template, detections)
        assert columns["is_negative"].tolist() == [False, True]
        expected = np.array([80, -30]) / NORM
        error = columns["base_PsfFlux_instFluxErr"]
        assert np.abs((columns["base_PsfFlux_instFlux"] - expected) / error).max() < 4
        assert columns["deblend_nChild"].tolist() == [2, 2]
        assert columns["parent"][0] == columns["parent"][1] == columns["footprint"][0]


def test_dipole_in_a_blend_leaves_its_neighbour_alone():
    """The neighbour sees both lobes, not one PSF: its flux is right."""
    star, flux, ratio = 600 / NORM, 60 / NORM, []
    for seed in range(10):
        science = exposure_of([150.0, 160.0], [150.0] * 2, [star, flux], noise=0.7, seed=seed)
        template = exposure_of([149.6], [150.0], [star], noise=0.7, seed=seed + 100)
        difference = science.replace(
            image=science.image - template.image, variance=science.variance + template.variance
        )
        columns = measure(difference, science, template, detect(difference))
        assert columns["ip_diffim_DipoleFit_flag_classification"].sum() == 1
        k = np.hypot(
            columns["base_NaiveCentroid_x"] - 160, columns["base_NaiveCentroid_y"] - 150
        ).argmin()
        ratio.append(columns["base_PsfFlux_instFlux"][k] / flux)
    assert np.mean(ratio) == pytest.approx(1.0, abs=0.025)


@pytest.fixture(scope="module")
def many():
    return many_sources()


class TestDeblend:
    def blend(self, **options):
        """Two at 1.2 FWHM in one footprint, another alone."""
        x, flux = [100.0, 100 + 1.2 * FWHM, 220.0], np.array([200.0, 100.0, 50.0]) / NORM
        exposure = exposure_of(x, [150.0] * 3, flux)
        detections = detections_of(x, [150.0] * 3)
        detections.sources["footprint"] = [1, 1, 2]
        detections.sources["n_peaks"] = [2, 2, 1]
        detections.sources["is_deblended"] = [True, True, False]
        return flux, run(exposure, detections, options=MeasureOptions(**options))

    def test_columns(self):
        flux, columns = self.blend()
        assert columns["parent"].tolist() == [1, 1, 0]
        assert columns["deblend_nChild"].tolist() == [2, 2, 0]
        assert columns["deblend_parentNPeaks"].tolist() == [2, 2, 0]
        assert not columns["deblend_failed"].any()
        assert not columns["deblend_tooManyPeaks"].any()
        error = columns["base_PsfFlux_instFluxErr"]
        assert np.abs((columns["base_PsfFlux_instFlux"] - flux) / error).max() < 4
        # The covariance of the neighbours.
        assert error[0] > 1.05 * error[2]

    def test_two_sources_under_one_peak(self):
        """1 FWHM apart detect sees one; both come out with fluxes of their own."""
        flux = np.array([60.0, 40.0]) / NORM
        exposure = exposure_of([150.0, 150.0 + FWHM], [150.2, 150.0], flux)
        detections = detect(exposure)
        assert len(detections.sources) == 1
        columns = run(exposure, detections)
        error = columns["base_PsfFlux_instFluxErr"]
        assert np.abs((columns["base_PsfFlux_instFlux"] - flux) / error).max() < 4
        assert columns["base_NaiveCentroid_x"] == pytest.approx([150.0, 150 + FWHM], abs=0.4)
        assert columns["deblend_nPeaks"].tolist() == [2, 2]
        assert all(len(values) == 2 for values in columns.values())
        off = run(exposure, detections, options=MeasureOptions(deblend=False))
        assert len(off["footprint"]) == 1

    def test_single_sources_stay_single(self, many):
        """576 of S/N 20; and bright ones under a PSF 3 % too narrow."""
        assert len(many[3]["footprint"]) == 576
        y, x = (a.ravel() + 0.3 for a in np.mgrid[30:971:60, 30:971:60])
        image = star_field((1000, 1000), x, y, np.full(x.size, 2000 / NORM), 1.03 * SIGMA)
        exposure = make_exposure(image + white_noise((1000, 1000), 1), 1.0, sigma=SIGMA)
        assert len(run(exposure, detections_of(x, y))["footprint"]) == x.size

    def test_off_leaves_the_neighbour_in(self):
        flux, columns = self.blend(deblend=False)
        assert columns["base_PsfFlux_instFlux"][1] > 1.2 * flux[1]

    def test_sizes_of_footprints(self):
        spans = np.zeros(3, SPAN_DTYPE)
        spans["footprint"], spans["y"] = [1, 1, 2], [10, 11, 40]
        spans["x0"], spans["x1"] = [5, 3, 60], [9, 6, 60]
        exposure = exposure_of([6.0, 60.0], [10.0, 40.0], [1e3, 1e3])
        columns = run(exposure, detections_of([6.0, 60.0], [10.0, 40.0], spans=spans))
        assert columns["footprint_bbox_size"].tolist() == [7, 1]


def test_extendedness():
    """Above the PSF's size it rises to 1, at it it is 0 (the stack's formula)."""
    x, y = [80.0, 220.0], [150.0, 150.0]
    image = star_field(SHAPE, x[:1], y[:1], [1e5], SIGMA) + star_field(
        SHAPE, x[1:], y[1:], [1e5], 1.5 * SIGMA
    )
    columns = run(make_exposure(image, 1e-6, sigma=SIGMA), detections_of(x, y))
    trace, psf = 2 * (1.5 * SIGMA) ** 2, 2 * SIGMA**2
    expected = 1 - np.exp(-0.5 * (trace - psf) ** 2 / psf)
    value = columns["base_ClassificationSizeExtendedness_value"]
    assert value == pytest.approx([0.0, expected], abs=0.02)
