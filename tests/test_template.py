import numpy as np
import pytest
from scenes import (
    gaussian_psf,
    make_exposure,
    robust_sigma,
    star_field,
    tan_wcs,
    white_noise,
)

from skydelta.errors import BandMismatchError, NoOverlapError, NoPhotoCalibError, NoPsfError
from skydelta.lsst.coadd_psf import CoaddPsf, CoaddPsfInput
from skydelta.lsst.gaussian_psf import GaussianPsf
from skydelta.lsst.sky_wcs import FitsSkyWcs
from skydelta.mask import Mask
from skydelta.photocalib import PhotoCalib
from skydelta.template import build_template

SHAPE = (200, 260)
PATCH = (230, 160)
WCS = tan_wcs(SHAPE)


def patch(image, x0, y0=-15, shape=PATCH, **fields):
    """A coadd on the exposure's own grid, its pixel (0, 0) at (x0, y0) of the exposure."""
    wcs = tan_wcs(SHAPE, shift=(x0, y0))
    return make_exposure(image, fields.pop("variance", 4.0), wcs=wcs, **fields)


def two_patches(shared, seed=0, **second):
    """Two patches that overlap on 60 columns, noise cut from one image or drawn twice."""
    sky = white_noise((PATCH[0], 2 * PATCH[1]), seed, 4.0)
    other = sky if shared else white_noise(sky.shape, seed + 1, 4.0)
    step = PATCH[1] - 60
    return [
        patch(sky[:, : PATCH[1]], -30),
        patch(other[:, step : step + PATCH[1]], -30 + step, **second),
    ]


def build(coadds, **options):
    return build_template(WCS, SHAPE, coadds, band="i", **options)


def overlap_and_rest(template):
    once = template.coverage == 1
    twice = template.coverage == 2
    assert 5000 < twice.sum() < once.sum()
    return template.exposure.variance[twice], template.exposure.variance[once], twice


class TestOverlap:
    def test_shared_noise_is_not_reduced(self):
        template = build(two_patches(shared=True))
        twice, once, _ = overlap_and_rest(template)
        assert template.exposure.meta["OVLPCORR"][0] == pytest.approx(1.0, abs=0.02)
        assert np.median(twice) == pytest.approx(np.median(once), rel=0.02)

    def test_independent_noise_is_halved(self):
        template = build(two_patches(shared=False))
        twice, once, where = overlap_and_rest(template)
        assert template.exposure.meta["OVLPCORR"][0] == pytest.approx(0.0, abs=0.05)
        assert np.median(once) == pytest.approx(4.0, rel=0.01)
        assert np.median(twice) == pytest.approx(2.0, rel=0.05)
        # ... which is what the pixels do.
        assert robust_sigma(template.exposure.image[where]) == pytest.approx(np.sqrt(2), rel=0.05)

    def test_half_shared_noise_is_measured(self):
        coadds = two_patches(shared=False, seed=7)
        common = white_noise((PATCH[0], 2 * PATCH[1]), 99, 4.0)
        step = PATCH[1] - 60
        mixed = [
            c.replace(image=(c.image + common[:, k : k + PATCH[1]]).astype(np.float32) / np.sqrt(2))
            for c, k in zip(coadds, (0, step), strict=True)
        ]
        template = build([c.replace(image=c.image.astype(np.float32)) for c in mixed])
        twice, _, where = overlap_and_rest(template)
        assert template.exposure.meta["OVLPCORR"][0] == pytest.approx(0.5, abs=0.05)
        assert np.median(twice) == pytest.approx(3.0, rel=0.03)
        assert template.exposure.image[where].var() == pytest.approx(3.0, rel=0.06)

    @pytest.mark.parametrize(("choice", "variance"), [("shared", 4.0), ("independent", 2.0)])
    def test_as_configured(self, choice, variance):
        twice, _, _ = overlap_and_rest(build(two_patches(shared=False), overlap_noise=choice))
        assert np.median(twice) == pytest.approx(variance, rel=0.01)

    def test_too_few_shared_pixels_count_as_shared(self):
        sky = white_noise(PATCH, 3, 4.0)
        coadds = [patch(sky, -30), patch(sky, -30 + PATCH[1] - 9)]
        template = build(coadds)
        assert template.exposure.meta["OVLPCORR"][0] == 1.0
        assert "too few shared pixels" in template.exposure.notes[-1]

    def test_deeper_coadd_weighs_more(self):
        """Inverse-variance weights: 1 and 1/9 give 0.9 of the deep one, 0.1 of the other."""
        coadds = [
            patch(np.full(PATCH, 0.0), -30, variance=1.0),
            patch(np.full(PATCH, 0.0), -30, variance=9.0),
        ]
        spot = np.zeros(PATCH)
        spot[100, 80] = 10.0
        coadds[1] = coadds[1].replace(image=spot.astype(np.float32))
        template = build(coadds, overlap_noise="independent")
        assert template.exposure.image.max() == pytest.approx(1.0, rel=1e-5)
        inside = template.coverage == 2
        assert np.median(template.exposure.variance[inside]) == pytest.approx(0.9, rel=1e-4)


class TestScales:
    def test_zero_points(self):
        """The second coadd in counts ten times smaller: everything on the first one's scale."""
        coadds = two_patches(shared=True)
        second = coadds[1]
        coadds[1] = second.replace(
            image=second.image / np.float32(10),
            variance=second.variance / np.float32(100),
            photo_calib=PhotoCalib(10.0),
        )
        template, expected = build(coadds), build(two_patches(shared=True))
        covered = template.coverage > 0
        assert template.exposure.photo_calib.scale == 1.0
        assert np.allclose(
            template.exposure.image[covered], expected.exposure.image[covered], atol=1e-4
        )
        assert np.allclose(
            template.exposure.variance[covered], expected.exposure.variance[covered], rtol=1e-5
        )

    def test_backgrounds_are_matched(self):
        coadds = two_patches(shared=True)
        coadds[1] = coadds[1].replace(image=coadds[1].image + np.float32(25))
        template, expected = build(coadds), build(two_patches(shared=True))
        covered = template.coverage > 0
        assert template.exposure.image[covered] == pytest.approx(
            expected.exposure.image[covered], abs=1e-3
        )
        assert any("backgrounds matched" in note for note in template.exposure.notes)
        assert not any("backgrounds matched" in note for note in expected.exposure.notes)


class TestBadPixels:
    def test_replaced_by_the_other_coadd(self):
        coadds = two_patches(shared=False)
        where = np.zeros(PATCH, bool)
        where[100, 130] = True  # in the overlap: exposure pixel (100, 85)
        where[100, 50] = True  # seen by this coadd only: exposure pixel (20, 85)
        image = coadds[0].image.copy()
        image[where] = 1e6
        damaged = coadds[0].replace(image=image, mask=Mask.empty(PATCH).with_plane("SAT", where))
        template = build([damaged, coadds[1]])
        assert template.coverage[85, 100] == 1
        assert abs(template.exposure.image[85, 100]) < 10
        assert template.exposure.image[85, 100] == coadds[1].image[100, 30]
        assert not template.exposure.mask.any("SAT")[85, 100]
        # Without a substitute the pixel stays, and says so.
        assert template.exposure.image[85, 20] == 1e6
        assert template.exposure.mask.any("SAT")[85, 20]

    def test_holes(self):
        """Where no coadd has data there is NO_DATA, no variance and no count."""
        template = build([patch(white_noise(PATCH, 0, 4.0), 60)], min_coverage=0.1)
        empty = template.coverage == 0
        assert 0.3 < empty.mean() < 0.6
        assert template.exposure.mask.any("NO_DATA")[empty].all()
        assert not template.exposure.mask.any("NO_DATA")[~empty].any()
        assert np.isnan(template.exposure.variance[empty]).all()
        assert (template.exposure.image[empty] == 0).all()
        assert template.covered_fraction == pytest.approx(1 - empty.mean())


class TestFailures:
    def test_band(self):
        with pytest.raises(BandMismatchError, match="'i', the coadd in 'r'"):
            build([patch(np.zeros(PATCH), 0, band="r")])

    def test_no_zero_point(self):
        with pytest.raises(NoPhotoCalibError, match=r"set input\.coadd_zero_point"):
            build([patch(np.zeros(PATCH), 0, photo_calib=None)])

    def test_no_psf(self):
        with pytest.raises(NoPsfError):
            build([patch(np.zeros(PATCH), 0).replace(psf=None)])

    def test_elsewhere(self):
        with pytest.raises(NoOverlapError, match="no coadd gives a pixel"):
            build([patch(np.zeros(PATCH), 5000)])

    def test_too_little_coverage(self):
        coadd = patch(np.zeros(PATCH), 240)
        with pytest.raises(NoOverlapError, match=r"less than min_coverage=0\.1") as caught:
            build([coadd])
        assert 0 < caught.value.details["coverage"] < 0.1
        assert build([coadd], min_coverage=0.02).covered_fraction < 0.1

    def test_one_of_several_elsewhere_is_left_out(self):
        coadds = [patch(np.zeros(PATCH), 5000), *two_patches(shared=True)]
        assert build(coadds).exposure.meta["NCOADD"][0] == 2


class TestPsf:
    @pytest.mark.parametrize(("scale", "rotation"), [(0.2, 30.0), (0.25, -20.0), (0.16, 10.0)])
    def test_stars_look_like_the_psf(self, scale, rotation):
        """Model of the combined PSF against the resampled stars, fluxes included."""
        shape = (320, 320)
        wcs = tan_wcs(shape, scale=scale, rotation=rotation)
        ellipse = {"sigma_y": 1.7, "angle": 0.6}
        x, y = (a.ravel() for a in np.meshgrid([60.3, 130.5, 201.9], [80.2, 110.7, 160.1]))
        ra, dec = WCS.all_pix2world(x, y, 0)
        u, v = wcs.all_world2pix(ra, dec, 0)
        coadd = make_exposure(
            star_field(shape, u, v, np.full(9, 1e4), 2.2, **ellipse),
            wcs=wcs,
            psf=gaussian_psf(2.2, 41, **ellipse),
        )
        template = build([coadd], min_coverage=0.5)
        psf = template.exposure.psf
        model = np.zeros((SHAPE[0] + 100, SHAPE[1] + 100))
        stamps, x0, y0 = psf.images(x, y)
        for stamp, left, bottom in zip(stamps, x0, y0, strict=True):
            model[bottom + 50 : bottom + 50 + psf.size, left + 50 : left + 50 + psf.size] += stamp
        model = 1e4 * model[50:-50, 50:-50]
        covered = template.coverage > 0
        residual = (template.exposure.image - model)[covered]
        assert np.abs(residual).max() < 0.01 * model.max()
        assert template.exposure.image[covered].sum() == pytest.approx(model.sum(), rel=2e-3)

    def test_overlap_psf_is_the_mean(self):
        coadds = [
            patch(np.zeros(PATCH), -30, psf=gaussian_psf(1.5)),
            patch(np.zeros(PATCH), 70, psf=gaussian_psf(2.5)),
        ]
        psf = build(coadds).exposure.psf
        left = psf.compute_shape(0, 100).determinant_radius
        right = psf.compute_shape(230, 100).determinant_radius
        middle = psf.compute_shape(100, 100).determinant_radius
        assert left == pytest.approx(1.5, abs=0.01)
        assert right == pytest.approx(2.5, abs=0.05)
        assert left < middle < right
        assert psf.data.sum(axis=(1, 2)) == pytest.approx(1.0, abs=1e-3)

    def test_psf_of_a_coadd_beyond_its_inputs(self):
        """Inputs on the right part only: the nodes left of them take the nearest known PSF."""
        wcs = FitsSkyWcs(tan_wcs(SHAPE, shift=(-30, -15)))
        box = 130, -50, 400, 400
        one = CoaddPsfInput(GaussianPsf(31, 31, 2.0), wcs, 1.0, box)
        psf = CoaddPsf(wcs, [one], (200.0, 100.0))
        coadd = patch(np.zeros((230, 320)), -30, shape=(230, 320), psf=psf)
        template = build([coadd])
        radii = [template.exposure.psf.compute_shape(x, 100).trace_radius for x in (0, 120, 259)]
        assert radii == pytest.approx([2.0, 2.0, 2.0], rel=5e-3)
        # Columns 0, 43.2 and 86.3 of the exposure lie left of the inputs' first, 99.5.
        note = next(note for note in template.exposure.notes if "no input images" in note)
        assert "at 21 nodes" in note
        assert "at most 100 px away" in note


def test_generators_do():
    template = build(c for c in two_patches(shared=True))
    assert template.exposure.meta["NCOADD"][0] == 2
    assert template.noise_correlation.sum() == pytest.approx(1.0)
    assert template.noise_correlation[6, 6] == pytest.approx(1.0, abs=1e-5)


def test_header():
    meta = build(two_patches(shared=True)).exposure.meta
    assert set(meta) >= {"NCOADD", "COVERAGE", "OVLPCORR", "LANCZOS", "WCSMAPER"}
    assert meta["COVERAGE"][0] > 0.8
    assert meta["WCSMAPER"][0] < 1e-3
