import numpy as np
import pytest
from scenes import gaussian_psf, gaussian_stamp, make_exposure, star_field, tan_wcs, white_noise

from skydelta.artefacts.cosmic_rays import find_cosmic_rays
from skydelta.mask import Mask
from skydelta.matched_template import MatchedTemplate
from skydelta.psf import GridPsf

SHAPE = (400, 400)
SIGMA = 1.9
NORM = np.sqrt((gaussian_stamp(SIGMA) ** 2).sum())


def grid(step=50):
    at = np.arange(30, 380, step)
    return (a.ravel() for a in np.meshgrid(at, at))


def field(image, sigma=SIGMA, seed=1, variance=1.0, **fields):
    return make_exposure(image + white_noise(SHAPE, seed), variance, sigma=sigma, **fields)


def track(image, x, y, angle, length, charge):
    """A straight track, one px wide; returns its pixels."""
    along = np.arange(0, length, 0.5)
    xs, ys = np.rint(x + along * np.cos(angle)), np.rint(y + along * np.sin(angle))
    pixels = np.unique(np.column_stack([ys, xs]).astype(int), axis=0)
    image[pixels[:, 0], pixels[:, 1]] += charge
    return pixels


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("charge", [12.0, 60.0, 1000.0])
def test_hits_of_all_directions_are_found(sign, charge):
    image, pixels = np.zeros(SHAPE), []
    for k, (x, y) in enumerate(zip(*grid(), strict=True)):
        pixels.append(track(image, x, y, k * np.pi / 25, 1 + k % 12, sign * charge))
    found = find_cosmic_rays(field(image))
    hit = [found.pixels[p[:, 0], p[:, 1]] for p in pixels]
    assert np.mean([h.any() for h in hit]) > 0.95
    assert np.concatenate(hit).mean() > (0.85 if charge < 20 else 0.95)
    assert found.count == pytest.approx(len(pixels), abs=3)
    template = np.array([found.template[p[:, 0], p[:, 1]].any() for p in pixels])
    assert template.mean() == pytest.approx(0.0 if sign > 0 else 1.0, abs=0.05)


def blank_template():
    return MatchedTemplate(make_exposure(np.zeros(SHAPE), 1e-4), 1.0)


@pytest.mark.parametrize("sign", [1, -1])
def test_stairs_of_sharp_seeing_are_whole_where_the_template_is_dark(sign):
    """A pixel of a diagonal track has a bright neighbour in its row, and in its column."""
    image, pixels = np.zeros(SHAPE), []
    for k, (x, y) in enumerate(zip(*grid(), strict=True)):
        angle = np.pi / 4 + (k % 9 - 4) * 0.04 + (k % 2) * np.pi / 2
        pixels.append(track(image, x, y, angle, 3 + k % 12, sign * 40.0))
    found = find_cosmic_rays(field(image, 1.38), matched=blank_template())
    hit = [found.pixels[p[:, 0], p[:, 1]] for p in pixels]
    assert np.concatenate(hit).mean() > 0.97
    assert min(h.mean() for h in hit) > 0.8


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("sigma", [0.9, 1.38, 1.9])
def test_stars_on_a_dark_template_are_no_hits(sigma, seed):
    """Where only the PSF's own contrast is asked for: S/N 5 to 500, with their photon noise."""
    rng = np.random.default_rng(seed)
    x, y = grid(25)
    x, y = x + rng.uniform(-0.5, 0.5, x.size), y + rng.uniform(-0.5, 0.5, y.size)
    snr = np.exp(rng.uniform(np.log(5), np.log(500), x.size)) * rng.choice([-1, 1], x.size)
    stars = star_field(SHAPE, x, y, snr / np.sqrt((gaussian_stamp(sigma) ** 2).sum()), sigma)
    noise = rng.normal(size=SHAPE) * np.sqrt(np.abs(stars))
    exposure = field(stars + noise, sigma, seed=seed, variance=1 + np.abs(stars))
    assert find_cosmic_rays(exposure, matched=blank_template()).count <= 1


@pytest.mark.parametrize("sigma", [0.9, 1.3, 1.9, 3.0])
def test_stars_are_no_hits(sigma):
    """Transients of S/N 5 to 3000 at random sub-pixel places, with their photon noise."""
    rng = np.random.default_rng(2)
    x, y = grid()
    x, y = x + rng.uniform(-0.5, 0.5, x.size), y + rng.uniform(-0.5, 0.5, y.size)
    snr = np.exp(rng.uniform(np.log(5), np.log(3000), x.size)) * rng.choice([-1, 1], x.size)
    stars = star_field(SHAPE, x, y, snr / np.sqrt((gaussian_stamp(sigma) ** 2).sum()), sigma)
    noise = rng.normal(size=SHAPE) * np.sqrt(np.abs(stars))
    exposure = field(stars + noise, sigma, variance=1 + np.abs(stars))
    assert not find_cosmic_rays(exposure).pixels.any()


def test_rings_of_a_decorrelated_psf_are_no_hits():
    """A PSF with a sharp ring of -10 % of its peak, at S/N 1000."""
    stamp = gaussian_stamp(1.4) * 1.5 - 0.5 * gaussian_stamp(2.2)
    stamp /= stamp.sum()
    image = np.zeros(SHAPE)
    for x, y in zip(*grid(), strict=True):
        image[y - 20 : y + 21, x - 20 : x + 21] += 1000 * stamp / np.sqrt((stamp**2).sum())
    exposure = field(image, psf=GridPsf.constant(stamp), variance=1 + np.abs(image))
    assert not find_cosmic_rays(exposure).pixels.any()


@pytest.mark.parametrize("sigma", [1.3, 1.9])
def test_stars_out_of_place_are_no_hits(sigma):
    """Dipoles of stars of S/N 1500 shifted by 0.3 px, and stars that are 5 % too wide."""
    x, y = grid()
    flux = np.full(x.size, 1500 / np.sqrt((gaussian_stamp(sigma) ** 2).sum()))
    star = star_field(SHAPE, x, y, flux, sigma)
    angle = np.arange(x.size)
    moved = star_field(SHAPE, x + 0.3 * np.cos(angle), y + 0.3 * np.sin(angle), flux, sigma)
    wider = star_field(SHAPE, x, y, flux, 1.05 * sigma)
    for other in (moved, wider):
        assert not find_cosmic_rays(field(other - star, sigma)).pixels.any()


def test_a_hit_beside_a_transient_leaves_the_transient():
    x, y = 200.3, 199.8
    image = star_field(SHAPE, [x], [y], [30 / NORM], SIGMA)
    pixels = track(image, 207, 190, 0.3, 10, 60.0)
    found = find_cosmic_rays(field(image)).pixels
    assert found[pixels[:, 0], pixels[:, 1]].mean() > 0.9
    assert not found[198:203, 198:203].any()


def test_noise_has_no_hits():
    for seed in range(3):
        assert find_cosmic_rays(field(np.zeros(SHAPE), seed=seed)).count == 0


def test_sharp_residuals_of_bright_stars_need_more():
    """A residual of 4 % in the core of a bright star is no hit, the same charge beside it is."""
    sky = star_field(SHAPE, [100.0], [100.0], [4e4], SIGMA)
    template = make_exposure(sky, 1.0, sigma=SIGMA, wcs=tan_wcs(SHAPE))
    image = np.zeros(SHAPE)
    image[100, 100] = image[100, 130] = 0.04 * sky.max()
    exposure = field(image, variance=1.0)
    assert image.max() > 50
    blind = find_cosmic_rays(exposure)
    assert blind.pixels[100, 100]
    seeing = find_cosmic_rays(exposure, matched=MatchedTemplate(template, 1.0))
    assert not seeing.pixels[100, 100]
    assert seeing.pixels[100, 130]


def test_masked_pixels_and_missing_variance_are_no_hits():
    image = np.zeros(SHAPE)
    where = np.zeros(SHAPE, bool)
    where[100:103, 100:103] = True
    image[where] = 1e6
    image[200, 200] = 1e6
    exposure = field(image, mask=Mask.empty(SHAPE).with_plane("SAT", where))
    exposure.variance[198:203, 198:203] = np.nan
    assert find_cosmic_rays(exposure).count == 0


def test_without_a_psf_nothing_is_sharp():
    """Half of the image has no PSF: no hits there, all in the other half."""
    image = np.zeros(SHAPE)
    image[50:350:50, 30] = image[50:350:50, 370] = 100.0
    exposure = field(image)

    class Half(GridPsf):
        def stamps(self, x, y):
            stamps = super().stamps(x, y).copy()
            stamps[np.asarray(x) < 250] = np.nan
            return stamps

    psf = gaussian_psf(SIGMA)
    found = find_cosmic_rays(exposure.replace(psf=Half(psf.x, psf.y, psf.data))).pixels
    assert not found[:, :200].any()
    assert found[50:350:50, 370].all()


def test_smeared_tracks_on_empty_sky_are_hits():
    """What a star's residual could be as sharp as is a hit where the template is empty."""
    image = white_noise((96, 96), 2)
    image[39:43, 30:42] += np.array([8.0, 40.0, 20.0, 2.0])[:, None]
    exposure = make_exposure(image, 1.0)
    template = white_noise((96, 96), 5)
    empty = MatchedTemplate(make_exposure(template, 1.0), kernel_sum=1.0)
    assert find_cosmic_rays(exposure, matched=empty).pixels[40, 30:42].all()
    bright = MatchedTemplate(make_exposure(template + 400 * (image > 6), 1.0), kernel_sum=1.0)
    assert find_cosmic_rays(exposure, matched=bright).count == 0
