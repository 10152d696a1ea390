import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from scenes import tan_wcs

from skydelta.pixelmap import TOLERANCE_PX, PixelMap

SHAPE = (700, 900)


def sip_wcs():
    """TAN-SIP of a wide-field camera: 10 px of distortion in the corners, 5th order included."""
    header = tan_wcs(SHAPE, rotation=25).to_header()
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN-SIP", "DEC--TAN-SIP"
    header["A_ORDER"] = header["B_ORDER"] = 5
    cards = {"A_2_0": 1.2e-5, "A_1_1": -8e-6, "A_0_3": 2e-8, "B_0_2": -2e-5, "B_3_0": 1.5e-8}
    cards |= {"A_5_0": 3e-13, "B_2_3": -3e-13}
    header.update(cards)
    return WCS(header)


def tpv_wcs():
    """TPV with third-order terms in the radius, as SCAMP writes it."""
    header = tan_wcs(SHAPE, rotation=-8, scale=0.26).to_header()
    header["CTYPE1"], header["CTYPE2"] = "RA---TPV", "DEC--TPV"
    for axis in (1, 2):
        header[f"PV{axis}_0"] = 1e-5
        header[f"PV{axis}_1"] = 1.0
        header[f"PV{axis}_4"] = 2e-2
        header[f"PV{axis}_7"] = 0.8
        header[f"PV{axis}_9"] = 0.8
    return WCS(fits.Header(header))


def exact(target, source, x, y):
    return source.all_world2pix(*target.all_pix2world(x, y, 0), 0, tolerance=1e-7)


@pytest.fixture(scope="module", params=["sip", "tpv"])
def mapping(request):
    target = {"sip": sip_wcs, "tpv": tpv_wcs}[request.param]()
    source = tan_wcs((1500, 1500), scale=0.25)
    return target, source, PixelMap.between(target, SHAPE, source)


def test_error_is_below_the_tolerance_everywhere(mapping):
    target, source, pixel_map = mapping
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0, SHAPE[1] - 1, 4000), rng.uniform(0, SHAPE[0] - 1, 4000)
    u, v = pixel_map.at(x, y)
    off = np.hypot(u - exact(target, source, x, y)[0], v - exact(target, source, x, y)[1])
    assert off.max() < TOLERANCE_PX
    assert pixel_map.error <= TOLERANCE_PX
    assert off.max() < 2 * pixel_map.error + 1e-5


def test_grid_and_points_agree(mapping):
    pixel_map = mapping[2]
    x, y = np.array([3.0, 400.0, 899.0]), np.array([0.0, 650.5])
    grid = pixel_map.evaluate(x, y)
    xx, yy = np.meshgrid(x, y)
    points = pixel_map.at(xx.ravel(), yy.ravel())
    for a, b in zip(grid, points, strict=True):
        assert a.ravel() == pytest.approx(b, abs=1e-9)


def test_jacobian_and_area_against_finite_differences(mapping):
    target, source, pixel_map = mapping
    rng = np.random.default_rng(1)
    x, y = rng.uniform(5, SHAPE[1] - 5, 50), rng.uniform(5, SHAPE[0] - 5, 50)
    step = 2.0
    columns = []
    for dx, dy in ((step, 0), (0, step)):
        hi, lo = exact(target, source, x + dx, y + dy), exact(target, source, x - dx, y - dy)
        columns.append(np.array([(a - b) / (2 * step) for a, b in zip(hi, lo, strict=True)]))
    expected = np.stack(columns, axis=-1).transpose(1, 0, 2)
    assert pixel_map.jacobian(x, y) == pytest.approx(expected, abs=1e-4)
    area = np.array([pixel_map.area(x[[k]], y[[k]])[0, 0] for k in range(50)])
    assert area == pytest.approx(np.abs(np.linalg.det(expected)), rel=3e-4)


def test_same_grid_is_the_identity():
    wcs = sip_wcs()
    pixel_map = PixelMap.between(wcs, SHAPE, wcs)
    u, v = pixel_map.evaluate(np.arange(0, 900, 50.0), np.arange(0, 700, 50.0))
    assert np.abs(u - np.arange(0, 900, 50.0)).max() < 1e-5
    assert np.abs(v - np.arange(0, 700, 50.0)[:, None]).max() < 1e-5
    assert pixel_map.area(np.array([450.0]), np.array([350.0]))[0, 0] == pytest.approx(1, abs=1e-6)


def test_looser_tolerance_needs_fewer_nodes():
    target, source = sip_wcs(), tan_wcs((1500, 1500), scale=0.25)
    coarse = PixelMap.between(target, SHAPE, source, tolerance=0.5)
    fine = PixelMap.between(target, SHAPE, source, tolerance=1e-6)
    assert coarse.x_nodes.size < fine.x_nodes.size
    assert fine.error < coarse.error


def test_tiny_grid():
    pixel_map = PixelMap.between(tan_wcs((5, 3)), (5, 3), tan_wcs((5, 3), shift=(0.5, -2)))
    u, v = pixel_map.at(np.array([0.0, 2.0]), np.array([0.0, 4.0]))
    assert u == pytest.approx([-0.5, 1.5], abs=1e-5)
    assert v == pytest.approx([2.0, 6.0], abs=1e-5)
