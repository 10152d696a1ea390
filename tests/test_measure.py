from dataclasses import replace

import numpy as np
import pytest
from measured import NORM, SHAPE, SIGMA, detections_of, exposure_of, many_sources, run
from photutils.aperture import CircularAperture, aperture_photometry
from scenes import gaussian_psf

from skydelta.detect import detect
from skydelta.detected_sources import SOURCE_DTYPE
from skydelta.errors import BadPsfError
from skydelta.footprints import SPAN_DTYPE
from skydelta.mask import Mask
from skydelta.measure import APERTURES, MeasureOptions, measure
from skydelta.psf import Psf


@pytest.fixture(scope="module")
def many():
    return many_sources()


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
