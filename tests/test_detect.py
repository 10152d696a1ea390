import numpy as np
import pytest
from scenes import gaussian, gaussian_stamp, make_exposure, star_field, white_noise

from skydelta.detect import DetectOptions, detect
from skydelta.detected_sources import SOURCE_DTYPE
from skydelta.errors import BadSubtractionError
from skydelta.footprints import SPAN_DTYPE
from skydelta.mask import UNUSABLE, Mask
from skydelta.psf import FWHM_PER_SIGMA
from skydelta.score import score_image

SIGMA = 2.0
FWHM = FWHM_PER_SIGMA * SIGMA
SHAPE = (300, 300)
NORM = np.sqrt((gaussian_stamp(SIGMA) ** 2).sum())
"""S/N of a source of unit flux on unit noise: 1 / (2 sigma sqrt(pi)) for a Gaussian."""


def flux_of(snr):
    return snr / NORM


def field(*sources, seed=0, shape=SHAPE, noise=1.0, **fields):
    """Sources (x, y, snr) on white noise of unit variance."""
    x, y, snr = np.array(sources, float).T if sources else ([], [], np.zeros(0))
    image = star_field(shape, x, y, flux_of(np.asarray(snr)), SIGMA)
    return make_exposure(image + noise * white_noise(shape, seed), 1.0, sigma=SIGMA, **fields)


def near(sources, x, y, within=1.5):
    return sources[np.hypot(sources["x"] - x, sources["y"] - y) < within]


class TestScore:
    def test_is_the_significance_of_a_psf_flux(self):
        score, sigma = score_image(field((150.0, 140.0, 25.0), noise=0.0))
        assert score[140, 150] == pytest.approx(25.0, rel=1e-3)
        assert sigma[140, 150] == pytest.approx(1 / NORM, rel=1e-3)
        assert score.argmax() == 140 * 300 + 150

    def test_noise_has_unit_scatter(self):
        score, _ = score_image(field(shape=(700, 700)))
        assert score.std() == pytest.approx(1.0, abs=0.02)
        assert abs(score.mean()) < 0.02
        # Near the edge part of the PSF is lost, not the normalisation.
        assert score[:5].std() == pytest.approx(1.0, abs=0.1)

    def test_scales_with_the_variance(self):
        exposure = field((150.0, 140.0, 25.0), noise=0.0)
        score, sigma = score_image(exposure.replace(variance=4 * exposure.variance))
        assert score[140, 150] == pytest.approx(12.5, rel=1e-3)
        assert sigma[140, 150] == pytest.approx(2 / NORM, rel=1e-3)

    def test_correlates_with_the_psf_as_it_is(self):
        """An asymmetric PSF is reflected before it is convolved."""
        stamp = gaussian_stamp(SIGMA) + 0.3 * gaussian_stamp(SIGMA, dx=5)
        exposure = make_exposure(np.zeros(SHAPE), 1.0)
        from skydelta.psf import GridPsf

        image = np.zeros(SHAPE, np.float32)
        image[130:171, 130:171] = 100 * stamp
        exposure = exposure.replace(image=image, psf=GridPsf.constant(stamp))
        score, _ = score_image(exposure)
        assert np.unravel_index(score.argmax(), SHAPE) == (150, 150)
        assert score.max() == pytest.approx(100 * np.sqrt((stamp**2).sum()), rel=1e-3)

    def test_unusable_pixels_weigh_nothing(self):
        """The score of half a star on a wall of bad pixels is that of the half that is seen."""
        where = np.zeros(SHAPE, bool)
        where[:, :149] = True
        image = gaussian(SHAPE, 150.0, 140.0, SIGMA, flux_of(30))
        image[where] = 1e8
        exposure = make_exposure(image, 1.0, mask=Mask.empty(SHAPE).with_plane("BAD", where))
        score, _ = score_image(exposure)
        stamp = gaussian_stamp(SIGMA)[:, 19:]
        assert score[140, 150] == pytest.approx(30 * np.sqrt((stamp**2).sum()) / NORM, rel=1e-3)
        assert score[140, 100] == 0

    def test_nan_variance_is_no_information(self):
        exposure = field((150.0, 140.0, 25.0))
        variance = exposure.variance.copy()
        variance[138:141, 200:203] = np.nan
        score, sigma = score_image(exposure.replace(variance=variance))
        assert np.isfinite(score).all()
        assert not np.isnan(sigma).any()


@pytest.mark.slow
def test_false_positives_of_white_noise():
    """Rate of local maxima above nu, n = nu exp(-nu^2/2) / (2^(5/2) pi^(3/2) s^2) per px and sign
    (DMTN-006), for white noise seen through a Gaussian PSF; within Poisson at 4 sigma.
    """
    nu, shape, count, sigma = 4.0, (1400, 1400), 0, SIGMA
    for seed in (1, 2):
        noise = field(shape=shape, seed=seed)
        count += len(detect(noise, options=DetectOptions(threshold=nu)).sources)
    rate = nu * np.exp(-(nu**2) / 2) / (2**2.5 * np.pi**1.5 * sigma**2)
    expected = 2 * 2 * rate * shape[0] * shape[1]  # two images, two signs
    assert expected > 80
    assert abs(count - expected) < 3 * np.sqrt(expected) + 0.1 * expected


class TestSources:
    @pytest.mark.parametrize("sign", [1, -1])
    def test_injected_source(self, sign):
        detections = detect(field((150.3, 140.6, sign * 15.0)))
        assert detections.score_rms == pytest.approx(1.0, abs=0.05)
        (found,) = near(detections.sources, 150.3, 140.6, 0.6)
        assert found["score"] == pytest.approx(sign * 15, abs=3)
        assert found["is_negative"] == (sign < 0)
        assert not found["is_dipole"]
        assert not found["is_deblended"]
        assert found["n_peaks"] == 1
        assert np.isnan(found["score_negative"])
        assert len(detections.sources) == 1

    def test_flux_sigma(self):
        assert detect(field()).flux_sigma == pytest.approx(1 / NORM, rel=1e-2)

    @pytest.mark.parametrize("polarity", ["positive", "negative", "both"])
    def test_polarity(self, polarity):
        sources = detect(
            field((80.0, 80.0, 20.0), (220.0, 220.0, -20.0)),
            options=DetectOptions(polarity=polarity),
        ).sources
        kept = {"positive": [False], "negative": [True], "both": [False, True]}[polarity]
        assert sorted(sources["is_negative"]) == kept

    def test_dipole_becomes_one_source(self):
        """Two lobes of 60 and -40 sigma, one FWHM apart."""
        sources = detect(field((148.0, 150.0, 60.0), (148.0 + FWHM, 150.0, -40.0))).sources
        (one,) = sources
        assert one["is_dipole"]
        assert not one["is_negative"]
        assert one["score"] > 0 > one["score_negative"]
        assert 147 < one["x"] < one["x_negative"] < 149 + FWHM + 1
        assert one["y"] == pytest.approx(150, abs=0.5)

    def test_far_lobes_are_two_sources(self):
        sources = detect(field((140.0, 150.0, 40.0), (140.0 + 4 * FWHM, 150.0, -40.0))).sources
        assert len(sources) == 2
        assert not sources["is_dipole"].any()

    def test_blend(self):
        """Two sources of one sign 2.5 FWHM apart are two, of one footprint."""
        x = 140.0, 140.0 + 2.5 * FWHM
        sources = detect(field((x[0], 150.0, 50.0), (x[1], 150.0, 30.0))).sources
        assert len(sources) == 2
        assert sorted(sources["x"]) == pytest.approx(x, abs=0.4)
        assert sources["is_deblended"].all()
        assert (sources["n_peaks"] == 2).all()
        assert sources["footprint"].tolist() == [1, 1]

    def test_very_bright_source_has_no_companions(self):
        detections = detect(field((150.2, 150.7, 5000.0)))
        assert len(detections.sources) == 1
        assert detections.sources["score"][0] == pytest.approx(5000, rel=0.02)

    def test_brightest_first(self):
        sources = detect(
            field((60.0, 60.0, 20.0), (150.0, 150.0, -60.0), (240.0, 90.0, 40.0))
        ).sources
        assert np.abs(sources["score"]).argsort()[::-1].tolist() == [0, 1, 2]

    def test_empty_image(self):
        detections = detect(field(noise=0.0))
        assert detections.sources.dtype == SOURCE_DTYPE
        assert detections.spans.dtype == SPAN_DTYPE
        assert len(detections.sources) == len(detections.spans) == 0

    def test_nothing_usable(self):
        mask = Mask.empty(SHAPE).with_plane("NO_DATA", np.ones(SHAPE, bool))
        detections = detect(field(mask=mask))
        assert len(detections.sources) == 0
        assert np.isnan(detections.score_rms)
        assert detections.flux_sigma == np.inf


class TestMasks:
    @pytest.mark.parametrize("plane", UNUSABLE)
    def test_peak_on_an_unusable_pixel_is_rejected(self, plane):
        where = np.zeros(SHAPE, bool)
        where[139:142, 149:152] = True
        mask = Mask.empty(SHAPE).with_plane(plane, where)
        detections = detect(field((150.0, 140.0, 60.0), (60.0, 60.0, 20.0), mask=mask))
        assert detections.rejected[plane.lower()] >= 1
        assert not where[
            np.rint(detections.sources["y"]).astype(int),
            np.rint(detections.sources["x"]).astype(int),
        ].any()
        assert len(near(detections.sources, 60, 60)) == 1

    @pytest.mark.parametrize("plane", ["INTRP", "SUSPECT", "DETECTED"])
    def test_other_planes_do_not_matter(self, plane):
        mask = Mask.empty(SHAPE).with_plane(plane, np.ones(SHAPE, bool))
        detections = detect(field((150.0, 140.0, 20.0), mask=mask))
        assert len(detections.sources) == 1

    def test_bad_values_under_the_mask_do_not_matter(self):
        where = np.zeros(SHAPE, bool)
        where[200, 100] = True
        image = field().image.copy()
        image[where] = 1e9
        mask = Mask.empty(SHAPE).with_plane("CR", where)
        assert len(detect(make_exposure(image, 1.0, sigma=SIGMA, mask=mask)).sources) == 0

    @pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0, -1.0])
    def test_variance_that_is_none(self, bad):
        exposure = field((150.0, 140.0, 20.0))
        variance = exposure.variance.copy()
        variance[50:60, 50:60] = bad
        detections = detect(exposure.replace(variance=variance))
        assert len(detections.sources) == 1
        assert np.isfinite(detections.score_rms)


class TestFootprints:
    @pytest.mark.parametrize(("x", "y"), [(0.0, 0.0), (299.0, 150.0), (150.0, 299.0), (3.0, 297.0)])
    def test_at_the_edge(self, x, y):
        detections = detect(field((x, y, 60.0)))
        (found,) = detections.sources
        assert np.hypot(found["x"] - x, found["y"] - y) < 1.5
        spans = detections.spans
        assert spans["x0"].min() >= 0
        assert spans["y"].min() >= 0
        assert spans["x1"].max() < 300
        assert spans["y"].max() < 300

    def test_spans_are_the_pixels_above_threshold_grown(self):
        exposure = field((150.0, 140.0, 40.0), (60.0, 60.0, 15.0))
        detections = detect(exposure)
        score, _ = score_image(exposure)
        label = np.zeros(SHAPE, int)
        for span in detections.spans:
            row = label[span["y"], span["x0"] : span["x1"] + 1]
            assert (row == 0).all()  # no pixel twice
            row[:] = span["footprint"]
        assert (label[np.abs(score) >= 5] > 0).all()
        for source in detections.sources:
            assert label[round(source["y"]), round(source["x"])] == source["footprint"]
        above = np.argwhere(np.abs(score) >= 5)
        inside = np.argwhere(label > 0)
        distance = np.abs(inside[:, None] - above[None]).max(axis=2).min(axis=1)
        assert distance.max() == np.ceil(2.4 * SIGMA)

    def test_are_numbered_from_one(self):
        detections = detect(field((60.0, 60.0, 20.0), (150.0, 150.0, 60.0), (240.0, 90.0, 40.0)))
        assert set(detections.sources["footprint"]) == {1, 2, 3}
        assert set(detections.spans["footprint"]) == {1, 2, 3}


def test_failed_subtraction():
    exposure = field().replace(image=np.full(SHAPE, 20.0, np.float32))
    with pytest.raises(
        BadSubtractionError, match=r"100\.0% of the pixels are above 5\.0 sigma"
    ) as error:
        detect(exposure)
    assert error.value.details["fraction_above"] == pytest.approx(1.0)
    assert error.value.status == "bad_subtraction"


def test_too_many_peaks():
    rng = np.random.default_rng(1)
    many = [(x, y, 30.0) for x, y in rng.uniform(10, 290, (40, 2))]
    with pytest.raises(BadSubtractionError, match=r"more than detect\.max_sources = 20") as error:
        detect(field(*many), options=DetectOptions(max_sources=20))
    assert error.value.details["n_peaks"] > 20


class TestSampling:
    """Sources between pixels, of a narrow PSF, where the sampling costs most."""

    def exposure(self, snr, seed=1):
        rng = np.random.default_rng(seed)
        at = np.arange(20, 500, 24)
        x, y = (a.ravel() + rng.uniform(-0.5, 0.5, a.size) for a in np.meshgrid(at, at))
        flux = snr / np.sqrt((gaussian_stamp(1.0) ** 2).sum())
        image = star_field((512, 512), x, y, np.full(x.size, flux), 1.0)
        return x, y, image

    def test_height_is_recovered(self):
        """Noiseless: between pixels 12 % would be lost at most, 4 % on average."""
        x, _, image = self.exposure(30.0)
        sources = detect(make_exposure(image, 1.0, sigma=1.0)).sources
        assert len(sources) == len(x)
        assert sources["score"].mean() == pytest.approx(30.0, rel=0.015)
        assert sources["score"].min() > 0.96 * 30

    def test_completeness_at_the_threshold(self):
        """With noise half of all sources of S/N 5 would be found at one known pixel; more are."""
        found = []
        for seed in (1, 2):
            x, y, image = self.exposure(5.0, seed)
            exposure = make_exposure(image + white_noise((512, 512), seed), 1.0, sigma=1.0)
            sources = detect(exposure).sources
            distance = np.hypot(sources["x"] - x[:, None], sources["y"] - y[:, None])
            found.append((distance.min(axis=1) < 2).mean())
        assert 0.5 < np.mean(found) < 0.7


class TestNoPsf:
    def test_is_marked_and_nothing_else_is_lost(self):
        """Stamps of NaN, and empty ones, on part of the image."""
        from skydelta.detections import mask_with_planes
        from skydelta.psf import GridPsf

        class Gap(GridPsf):
            def stamps(self, x, y):
                stamps = super().stamps(x, y).copy()
                stamps[np.asarray(x) > 600] = np.nan
                stamps[np.asarray(y) > 600] = 0.0
                return stamps

        shape = (900, 900)
        exposure = field((150.0, 140.0, 25.0), (800.0, 140.0, 25.0), shape=shape)
        exposure = exposure.replace(psf=Gap(exposure.psf.x, exposure.psf.y, exposure.psf.data))
        detections = detect(exposure)
        assert len(detections.sources) == 1
        assert len(near(detections.sources, 150, 140)) == 1
        unknown = mask_with_planes(exposure.mask, detections).any("NO_PSF")
        assert unknown[140, 800]
        assert unknown[800, 140]
        assert not unknown[140, 150]

    def test_none_at_all(self):
        from skydelta.errors import BadPsfError
        from skydelta.psf import GridPsf

        class Void(GridPsf):
            def stamps(self, x, y):
                return np.zeros_like(super().stamps(x, y))

        exposure = field()
        with pytest.raises(BadPsfError, match="not known anywhere"):
            detect(exposure.replace(psf=Void(exposure.psf.x, exposure.psf.y, exposure.psf.data)))


class TestArtefacts:
    def test_a_cosmic_ray_is_no_source(self):
        exposure = field((60.0, 60.0, 20.0))
        exposure.image[150:153, 150:153] += np.eye(3, dtype=np.float32) * 80
        detections = detect(exposure)
        assert detections.artefacts["cosmic_rays"] == 1
        assert len(detections.sources) == 1
        blind = detect(exposure, options=DetectOptions(cosmic_ray_sigma=None))
        assert len(blind.sources) == 2

    def test_a_source_on_a_trail_stays(self):
        from skydelta.detections import mask_with_planes
        from skydelta.simulate.trails import draw_trail

        exposure = field((150.0, 150.0, 40.0), (60.0, 230.0, 40.0))
        draw_trail(exposure.image, 150.0, 150.0, 0.3, 1.5, FWHM, 3.5)
        detections = detect(exposure)
        mask = mask_with_planes(exposure.mask, detections)
        assert detections.artefacts["streaks"] == 1
        assert mask.any("STREAK")[150, 150]
        assert not mask.any("STREAK")[230, 60]
        assert len(near(detections.sources, 150, 150)) == 1
        assert len(near(detections.sources, 60, 230)) == 1

    def test_planes_of_the_signs(self):
        from skydelta.detections import mask_with_planes

        detections = detect(
            field(
                (60.0, 60.0, 20.0),
                (150.0, 60.0, -20.0),
                (148.0, 200.0, 60.0),
                (148.0 + FWHM, 200.0, -40.0),
            )
        )
        mask = mask_with_planes(Mask.empty(SHAPE), detections)
        positive, negative = mask.any("DETECTED"), mask.any("DETECTED_NEGATIVE")
        assert positive[60, 60]
        assert not negative[60, 60]
        assert negative[60, 150]
        assert not positive[60, 150]
        assert (positive & negative)[200, 150]
        assert positive.sum() < 0.02 * positive.size


def test_threshold():
    exposure = field((150.0, 140.0, 20.0))
    assert len(detect(exposure, options=DetectOptions(threshold=12.0)).sources) == 1
    assert len(detect(exposure, options=DetectOptions(threshold=28.0)).sources) == 0


@pytest.mark.parametrize("chain", ["broad", "sharp"])
def test_events_of_the_simulated_pair(chain, request):
    """Every unmasked event of S/N above 10 is found within a pixel and a half."""
    chain = request.getfixturevalue(chain)
    truth = chain.pair.truth
    wanted = truth[(truth["snr_expected"] > 10) & (truth["masked"] == 0)]
    assert len(wanted) >= 6
    assert all(len(near(chain.detections.sources, row["x"], row["y"])) for row in wanted)
