import numpy as np
import pytest
from scenes import make_exposure, star_field, white_noise
from scipy import ndimage

from skydelta.artefacts import find_artefacts
from skydelta.artefacts.halos import find_halos
from skydelta.artefacts.template_edge import near_no_data
from skydelta.mask import Mask

SHAPE = (300, 300)
YY, XX = np.mgrid[:300, :300]
R = np.hypot(XX - 150, YY - 150)


def saturated(residual, plane="SAT", radius=6, noise=1.0):
    mask = Mask.empty(SHAPE).with_plane(plane, radius >= R)
    return make_exposure(residual + noise * white_noise(SHAPE, 2), 1.0, mask=mask)


def pixels(halos):
    where = np.zeros(SHAPE, bool)
    for halo in halos:
        height, width = halo.pixels.shape
        where[halo.y : halo.y + height, halo.x : halo.x + width] |= halo.pixels
    return where


@pytest.mark.parametrize("plane", ["SAT", "SAT_TEMPLATE"])
@pytest.mark.parametrize("end", [15, 25])
def test_ends_where_the_residual_ends(plane, end):
    rng = np.random.default_rng(1)
    ring = np.where((R > 6) & (end >= R), rng.choice([-4.0, 4.0], SHAPE), 0.0)
    where = pixels(find_halos(saturated(ring, plane)))
    assert where[(R > 6.5) & (end - 0.5 > R)].all()
    assert not where[end + 8 < R].any()
    assert not where[R <= 6].any()


def test_is_one_fwhm_where_there_is_no_residual():
    where = pixels(find_halos(saturated(np.zeros(SHAPE))))
    assert where[(R > 6.5) & (R < 9)].all()
    assert not where[R > 14].any()


def test_spikes_belong_to_it():
    """A spike 2 px wide that sticks out along the row."""
    spike = np.where((np.abs(YY - 150) <= 1.5) & (np.abs(XX - 150) < 28), 6.0, 0.0)
    where = pixels(find_halos(saturated(spike)))
    assert where[150, 125:175].sum() >= 35
    assert not where[170:, :].any()


def test_a_transient_nearby_is_not_part_of_it():
    star = star_field(SHAPE, [175.0], [150.0], [500.0], 2.0)
    where = pixels(find_halos(saturated(star)))
    assert not where[145:156, 170:181].any()


def test_single_saturated_pixels_have_none():
    mask = Mask.empty(SHAPE).with_plane("SAT", R < 1)
    assert find_halos(make_exposure(white_noise(SHAPE, 2), 1.0, mask=mask)) == []


def test_unusable_surroundings():
    exposure = saturated(np.zeros(SHAPE))
    exposure.variance[R > 6] = np.nan
    assert len(find_halos(exposure)) == 1


def test_edge_of_the_template_reaches_half_a_kernel():
    mask = Mask.empty(SHAPE).with_plane("NO_DATA", XX < 40)
    near = near_no_data(mask, 12)
    assert np.array_equal(near, (XX >= 40) & (XX < 52))
    assert not near_no_data(Mask.empty(SHAPE), 12).any()
    assert not near_no_data(mask, 0).any()


def test_residuals_at_a_saturated_star_are_a_halo_not_a_hit():
    rng = np.random.default_rng(1)
    ring = np.where((R > 6) & (R <= 16), rng.choice([-40.0, 40.0], SHAPE), 0.0)
    found = find_artefacts(saturated(ring))
    assert found.counts == {"halos": 1, "cosmic_rays": 0, "cosmic_rays_template": 0, "streaks": 0}
    assert set(found.spans["plane"]) == {"HALO"}


def test_planes_of_a_simulated_pair(broad):
    """Each masked hit is CR already: what is found beside them is rare, and no transient."""
    exposure = broad.decorrelated.exposure
    found = find_artefacts(exposure, matched=broad.matched)
    assert found.counts["streaks"] == 0
    new = np.zeros(exposure.shape, bool)
    for span in found.spans[found.spans["plane"] == "CR"]:
        new[span["y"], span["x0"] : span["x1"] + 1] = True
    near = ndimage.binary_dilation(broad.pair.cosmic_rays, iterations=3)
    assert ndimage.label(new & ~near)[1] <= 1
