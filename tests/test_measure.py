from dataclasses import replace

import numpy as np
import pytest
from photutils.aperture import CircularAperture, aperture_photometry
from scenes import gaussian_psf, gaussian_stamp, make_exposure, star_field, white_noise

from skydelta.detect import detect
from skydelta.detected_sources import SOURCE_DTYPE
from skydelta.detections import Detections
from skydelta.errors import BadPsfError
from skydelta.footprints import SPAN_DTYPE
from skydelta.mask import Mask
from skydelta.measure import APERTURES, MeasureOptions, measure
from skydelta.psf import FWHM_PER_SIGMA, Psf

SIGMA = 2.0
FWHM = FWHM_PER_SIGMA * SIGMA
NORM = np.sqrt((gaussian_stamp(SIGMA) ** 2).sum())
SHAPE = (300, 300)


def detections_of(x, y, *, score=20.0, spans=None, **columns):
    """What `detect` would hand over for given peaks, each in a footprint of its own."""
    sources = np.zeros(len(x), SOURCE_DTYPE)
    sources["x"], sources["y"], sources["score"] = x, y, score
    sources["footprint"] = np.arange(1, len(x) + 1)
    sources["n_peaks"] = 1
    for name in ("x_negative", "y_negative", "score_negative"):
        sources[name] = np.nan
    for name, value in columns.items():
        sources[name] = value
    if spans is None:
        spans = np.zeros(len(x), SPAN_DTYPE)
        spans["footprint"] = sources["footprint"]
        spans["y"] = np.clip(np.rint(y), 0, None)
        spans["x0"] = spans["x1"] = np.clip(np.rint(x), 0, None)
    return Detections(sources, spans, 1.0, 1.0)


def exposure_of(x, y, flux, *, noise=1.0, seed=0, shape=SHAPE, **fields):
    image = star_field(shape, x, y, flux, SIGMA)
    if noise:
        image = image + white_noise(shape, seed, noise**2)
    return make_exposure(image, max(noise, 1e-3) ** 2, sigma=SIGMA, **fields)


def run(exposure, detections, **options):
    return measure(exposure, exposure, exposure, detections, **options)


@pytest.fixture(scope="module")
def many():
    """600 sources of S/N 20 on white noise, each started 0.3 px off its place."""
    shape = (1000, 1000)
    rng = np.random.default_rng(4)
    y, x = (a.ravel() + rng.uniform(-4, 4, 576) for a in np.mgrid[30:971:40, 30:971:40])
    sign = np.where(np.arange(576) % 3 == 0, -1.0, 1.0)
    flux = sign * 20 / NORM
    exposure = exposure_of(x, y, flux, shape=shape)
    start = rng.normal(0, 0.3, (2, 576))
    columns = run(exposure, detections_of(x + start[0], y + start[1], score=20 * sign))
    return x, y, flux, columns


class TestPulls:
    """(measured - true) / error of 576 sources: mean 0 within three standard errors, width 1."""

    def check(self, pull):
        assert abs(pull.mean()) < 3 / np.sqrt(pull.size)
        assert 0.9 < pull.std() < 1.1

    def test_flux(self, many):
        _, _, flux, columns = many
        error = columns["base_PsfFlux_instFluxErr"]
        assert np.median(error) == pytest.approx(1 / NORM, rel=0.02)
        # A free position lets |flux| climb: by 1 / S/N of an error for two coordinates.
        pull = (columns["base_PsfFlux_instFlux"] - flux) / error * np.sign(flux)
        assert abs(pull.mean() - 1 / 20) < 3 / np.sqrt(pull.size)
        assert 0.9 < pull.std() < 1.1

    @pytest.mark.parametrize("axis", ["x", "y"])
    def test_position(self, many, axis):
        true = many[0] if axis == "x" else many[1]
        columns = many[3]
        error = columns[f"base_NaiveCentroid_{axis}Err"]
        self.check((columns[f"base_NaiveCentroid_{axis}"] - true) / error)
        # sigma / (S/N) sqrt(2), the Cramer-Rao bound for a Gaussian on white noise.
        assert np.median(error) == pytest.approx(SIGMA * np.sqrt(2) / 20, rel=0.06)

    def test_chi2(self, many):
        columns = many[3]
        freedom = columns["base_PsfFlux_npixels"]
        reduced = columns["base_PsfFlux_chi2"] / freedom
        assert reduced.mean() == pytest.approx(1.0, abs=0.02)

    def test_forced_fluxes(self, many):
        """On the image itself, above its own background, at the measured place."""
        _, _, flux, columns = many
        name = "ip_diffim_forced_PsfFlux"
        pull = (columns[f"{name}_instFlux"] - flux) / columns[f"{name}_instFluxErr"]
        assert abs((pull * np.sign(flux)).mean() - 1 / 20) < 4 / np.sqrt(pull.size)
        assert 0.9 < pull.std() < 1.15

    def test_apertures(self, many):
        _, _, flux, columns = many
        inside = 1 - np.exp(-0.5 * (6.0 / SIGMA) ** 2)
        name = "base_CircularApertureFlux_6_0"
        pull = (columns[f"{name}_instFlux"] - inside * flux) / columns[f"{name}_instFluxErr"]
        assert abs(pull.mean()) < 0.2
        assert 0.9 < pull.std() < 1.1

    def test_shapes(self, many):
        columns = many[3]
        for name in ("xx", "yy"):
            assert np.nanmedian(columns[f"base_SdssShape_{name}"]) == pytest.approx(4.0, rel=0.06)
        assert abs(np.nanmedian(columns["base_SdssShape_xy"])) < 0.1
        assert columns["base_SdssShape_flag"].mean() < 0.05

    def test_flags_are_down(self, many):
        columns = many[3]
        raised = [k for k, v in columns.items() if "flag" in k and v.any()]
        assert set(raised) <= {"base_SdssShape_flag"}


def test_noiseless_source_is_exact():
    columns = run(
        exposure_of([150.27], [140.61], [5000.0], noise=0), detections_of([150.0], [141.0])
    )
    assert columns["base_PsfFlux_instFlux"][0] == pytest.approx(5000, rel=1e-4)
    assert columns["base_NaiveCentroid_x"][0] == pytest.approx(150.27, abs=2e-3)
    assert columns["base_NaiveCentroid_y"][0] == pytest.approx(140.61, abs=2e-3)
    # Effective area of a Gaussian: 4 pi sigma^2.
    assert columns["base_PsfFlux_area"][0] == pytest.approx(16 * np.pi, rel=0.01)


def test_apertures_against_photutils():
    """Sums to 0.5 % at any sub-pixel place, 1 % for the smallest (photutils: exact overlap)."""
    rng = np.random.default_rng(2)
    x, y = (a.ravel() + rng.uniform(-0.5, 0.5, 16) for a in np.mgrid[45:256:70, 45:256:70])
    exposure = exposure_of(x, y, np.full(16, 1e4), noise=0)
    columns = run(exposure, detections_of(x, y))
    at = np.column_stack([columns["base_NaiveCentroid_x"], columns["base_NaiveCentroid_y"]])
    for r in APERTURES:
        theirs = aperture_photometry(exposure.image.astype(float), CircularAperture(at, r))
        name = f"base_CircularApertureFlux_{r:.1f}".replace(".", "_")
        ours = columns[f"{name}_instFlux"]
        assert ours == pytest.approx(
            np.asarray(theirs["aperture_sum"]), rel=0.01 if r == 3 else 5e-3
        )
        area = columns[f"{name}_instFluxErr"] / 1e-3
        assert area**2 == pytest.approx(np.pi * r**2, rel=0.13)


def test_apertures_are_an_option():
    exposure = exposure_of([150.0], [150.0], [1e4])
    columns = run(exposure, detections_of([150.0], [150.0]), options=MeasureOptions((2.5,)))
    names = [name for name in columns if "CircularAperture" in name]
    assert names == [
        f"base_CircularApertureFlux_2_5_{k}" for k in ("instFlux", "instFluxErr", "flag")
    ]


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


class HoledPsf(Psf):
    """A Gaussian without a model where x < 100: NaN, or nothing."""

    size = 41

    def __init__(self, value):
        self.value = value

    def stamps(self, x, y):
        whole = gaussian_psf(SIGMA).stamps(x, y)
        return np.where(np.asarray(x)[:, None, None] < 100, self.value, whole)


class TestBadInput:
    @pytest.mark.parametrize("value", [np.nan, 0.0])
    def test_psf_missing_at_a_position(self, value):
        """Flagged there, the other source as ever."""
        x, y = [50.0, 200.0, 60.0], [150.0, 150.0, 150.0]
        whole = exposure_of(x, y, [1e3] * 3)
        holed = whole.replace(psf=HoledPsf(value))
        columns, expected = (run(e, detections_of(x, y)) for e in (holed, whole))
        assert columns["base_PsfFlux_flag"].tolist() == [True, False, True]
        assert columns["base_NaiveCentroid_flag"].tolist() == [True, False, True]
        assert columns["ip_diffim_forced_PsfFlux_flag"].tolist() == [True, False, True]
        for name in ("base_PsfFlux_instFlux", "base_CircularApertureFlux_6_0_instFlux"):
            assert columns[name][1] == pytest.approx(expected[name][1], rel=1e-6)
        assert np.isnan(columns["base_PsfFlux_instFlux"][[0, 2]]).all()

    def test_psf_missing_everywhere(self):
        exposure = exposure_of([50.0], [150.0], [1e3]).replace(psf=HoledPsf(np.nan))
        narrow = exposure.replace(
            image=exposure.image[:, :90],
            variance=exposure.variance[:, :90],
            mask=Mask.empty((300, 90)),
        )
        with pytest.raises(BadPsfError):
            run(narrow, detections_of([50.0], [150.0]))

    def test_nan_in_the_variance(self):
        """Such pixels take no part."""
        exposure = exposure_of([150.0], [150.0], [2e3])
        variance = exposure.variance.copy()
        variance[151, 149:152] = np.nan
        columns = run(exposure.replace(variance=variance), detections_of([150.0], [150.0]))
        pull = (columns["base_PsfFlux_instFlux"] - 2e3) / columns["base_PsfFlux_instFluxErr"]
        assert abs(pull[0]) < 4
        assert not columns["base_PsfFlux_flag"].any()
        assert columns["base_PsfFlux_npixels"][0] == 25**2 - 3

    def test_footprint_on_the_edge(self):
        exposure = exposure_of([0.4, 150.0], [298.7, 150.0], [1e3, 1e3])
        columns = run(exposure, detect(exposure))
        assert len(columns["footprint"]) == 2
        assert all(len(v) == 2 for v in columns.values())


class TestFlags:
    PLANES = (
        ("bad", "BAD"),
        ("saturated", "SAT"),
        ("saturatedTemplate", "SAT_TEMPLATE"),
        ("cr", "CR"),
        ("interpolated", "INTRP"),
        ("suspect", "SUSPECT"),
        ("edge", "EDGE"),
        ("edge", "NO_DATA"),
        ("nodata", "NO_DATA"),
    )

    @pytest.mark.parametrize(("flag", "plane"), PLANES)
    def test_footprint_and_centre(self, flag, plane):
        """One pixel at (151, 150): by the first source, inside the second's footprint only."""
        where = np.zeros(SHAPE, bool)
        where[150, 151] = True
        mask = Mask.empty(SHAPE).with_plane(plane, where)
        exposure = exposure_of([150.0, 160.0], [150.0] * 2, [1e3, 1e3], mask=mask)
        spans = np.zeros(2, SPAN_DTYPE)
        spans["footprint"], spans["y"] = [1, 2], 150
        spans["x0"], spans["x1"] = [145, 148], [155, 165]
        columns = run(exposure, detections_of([150.0, 160.0], [150.0] * 2, spans=spans))
        name = f"base_PixelFlags_flag_{flag}"
        assert columns[name].tolist() == [True, True]
        assert columns[f"{name}Center"].tolist() == [True, False]

    def test_a_mostly_masked_source_has_no_good_flux(self):
        where = np.zeros(SHAPE, bool)
        where[:, 150:] = True
        mask = Mask.empty(SHAPE).with_plane("BAD", where)
        exposure = exposure_of([152.0], [150.0], [1e3], mask=mask)
        columns = run(exposure, detections_of([152.0], [150.0]))
        assert columns["base_PsfFlux_flag"].all()

    def test_wholly_masked(self):
        mask = Mask.empty(SHAPE).with_plane("NO_DATA", np.ones(SHAPE, bool))
        exposure = exposure_of([150.0], [150.0], [1e3], mask=mask)
        columns = run(exposure, detections_of([150.0], [150.0]))
        assert columns["base_PsfFlux_flag"].all()
        assert columns["ip_diffim_forced_PsfFlux_flag"].all()
        assert np.isnan(columns["ip_diffim_forced_PsfFlux_instFlux"]).all()

    def test_runaway_position(self):
        """Nothing at the peak: where the fit wanders off it says so."""
        exposure = exposure_of([156.0], [150.0], [1e5], noise=1)
        columns = run(exposure, detections_of([150.0], [150.0]))
        assert columns["base_NaiveCentroid_flag"].all()
        off = np.hypot(
            columns["base_NaiveCentroid_x"] - 150.0, columns["base_NaiveCentroid_y"] - 150.0
        )
        assert off.max() <= 2 * np.sqrt(2) + 1e-6


@pytest.mark.parametrize(("x", "y"), [(0.2, 150.0), (299.4, 0.1), (150.0, 298.8), (1.0, 297.0)])
def test_at_the_edge(x, y):
    """Half of a star gives its whole flux, within noise."""
    flux = 200 / NORM
    columns = run(exposure_of([x], [y], [flux]), detections_of([np.rint(x)], [np.rint(y)]))
    assert columns["base_NaiveCentroid_x"][0] == pytest.approx(x, abs=0.15)
    assert columns["base_NaiveCentroid_y"][0] == pytest.approx(y, abs=0.15)
    pull = (columns["base_PsfFlux_instFlux"][0] - flux) / columns["base_PsfFlux_instFluxErr"][0]
    assert abs(pull) < 4.5
    assert columns["base_CircularApertureFlux_12_0_flag"].all()


def test_off_the_image():
    columns = run(exposure_of([-0.8], [150.0], [3e3]), detections_of([0.0], [150.0]))
    assert columns["base_NaiveCentroid_x"][0] == pytest.approx(-0.8, abs=0.1)
    assert columns["base_PixelFlags_flag_offimage"].all()


def test_sky_sources_keep_their_place():
    """Beside a star, too: forced, neither blended nor tried as a dipole."""
    exposure = exposure_of([150.0], [150.0], [1e3])
    found = detections_of([150.0, 158.0], [150.0, 150.0])
    dtype = [*SOURCE_DTYPE.descr, ("is_sky", "?")] if "is_sky" not in SOURCE_DTYPE.names else None
    sources = np.zeros(2, dtype or SOURCE_DTYPE)
    for name in SOURCE_DTYPE.names:
        sources[name] = found.sources[name]
    sources["is_sky"] = [False, True]
    columns = run(exposure, replace(found, sources=sources))
    assert columns["base_NaiveCentroid_x"][1] == 158.0
    assert not columns["ip_diffim_DipoleFit_flag_classificationAttempted"][1]
    alone = run(exposure, detections_of([150.0], [150.0]))
    assert columns["base_PsfFlux_instFlux"][0] == alone["base_PsfFlux_instFlux"][0]


def test_no_source_gives_every_column():
    exposure = exposure_of([], [], [])
    none = run(exposure, detections_of([], []))
    one = run(exposure, detections_of([150.0], [150.0]))
    assert list(none) == list(one)
    for name, values in none.items():
        assert len(values) == 0, name
        assert values.dtype == one[name].dtype, name


def test_matching_error_is_added():
    """kernel error x kernel sum x the template's light, in quadrature to the noise."""
    light = 5000.0
    science = exposure_of([150.0], [150.0], [1e3])
    template = exposure_of([150.0], [150.0], [light], seed=1)
    columns = measure(
        science,
        science,
        template,
        detections_of([150.0], [150.0]),
        kernel_sum=2.0,
        kernel_error=0.01,
    )
    noise = columns["base_PsfFlux_instFluxErr_noise"][0]
    total = columns["base_PsfFlux_instFluxErr"][0]
    assert noise == pytest.approx(1 / NORM, rel=0.02)
    assert np.sqrt(total**2 - noise**2) == pytest.approx(0.02 * light, rel=0.02)


def test_forced_flux_on_a_pedestal():
    """The local background is fitted with the forced flux."""
    exposure = exposure_of([150.0], [150.0], [1e4], noise=0.1)
    raised = exposure.replace(image=exposure.image + np.float32(500))
    columns = measure(exposure, raised, raised, detections_of([150.0], [150.0]))
    for name in ("ip_diffim_forced_PsfFlux", "ip_diffim_forced_template_PsfFlux"):
        assert columns[f"{name}_instFlux"][0] == pytest.approx(1e4, rel=2e-3)


def test_sky_positions():
    exposure = exposure_of([100.5], [201.25], [1e5], noise=0.1)
    columns = run(exposure, detections_of([100.0], [201.0]))
    ra, dec = exposure.wcs.all_pix2world(100.5, 201.25, 0)
    assert np.degrees(columns["coord_ra"][0]) == pytest.approx(float(ra), abs=1e-6)
    assert np.degrees(columns["coord_dec"][0]) == pytest.approx(float(dec), abs=1e-6)


@pytest.mark.parametrize("chain", ["broad", "sharp"])
def test_transients_of_the_simulated_pair(chain, request):
    """Fluxes of unmasked new sources against the truth: pulls of a few at most, no bias."""
    chain = request.getfixturevalue(chain)
    columns, truth = chain.columns, chain.pair.truth
    scale = chain.science.photo_calib.scale
    new = truth[
        (truth["masked"] == 0) & (truth["snr_expected"] > 10) & (truth["template_flux_nJy"] == 0)
    ]
    pulls, ratios = [], []
    for row in new:
        distance = np.hypot(
            columns["base_NaiveCentroid_x"] - row["x"], columns["base_NaiveCentroid_y"] - row["y"]
        )
        k = np.argmin(distance)
        assert distance[k] < 0.6
        flux = columns["base_PsfFlux_instFlux"][k] * scale
        pulls.append((flux - row["flux_nJy"]) / columns["base_PsfFlux_instFluxErr"][k] / scale)
        ratios.append(flux / row["flux_nJy"])
    assert len(pulls) >= 3
    assert np.abs(pulls).max() < 4
    assert np.median(ratios) == pytest.approx(1.0, abs=0.05)
