import numpy as np
import pytest
from scenes import white_noise
from scipy.signal import fftconvolve

from skydelta.convolve import convolve_local, convolve_spatial, tiles
from skydelta.kernel import SpatialKernel
from skydelta.kernel_basis import BasisSpec, gaussian_basis
from skydelta.polynomial import chebyshev, n_terms


def kernel_over(shape, order, size=11, seed=0):
    basis = gaussian_basis(BasisSpec((0.9, 1.8), (2, 1), size))
    coefficients = np.random.default_rng(seed).normal(0, 0.3, (len(basis), n_terms(order)))
    coefficients[0] = 0
    coefficients[0, 0] = 1.3
    return SpatialKernel.polynomial(basis, coefficients, order, np.zeros(1), 0, shape)


@pytest.mark.parametrize("shape", [(90, 70), (40, 1100), (600, 33)])
@pytest.mark.parametrize("order", [0, 2])
def test_equals_direct_convolution(shape, order):
    """K conv T at (x, y) with the kernel of (x, y), in double precision."""
    image = white_noise(shape, 1).astype(np.float32)
    kernel = kernel_over(shape, order)
    yy, xx = np.mgrid[: shape[0], : shape[1]]
    weights = chebyshev(order, xx.ravel(), yy.ravel(), shape).T.reshape(-1, *shape)
    expected = sum(
        w * fftconvolve(image.astype(float), term, mode="same")
        for w, term in zip(weights, kernel.images, strict=True)
    )
    out = convolve_spatial(image, kernel)
    assert out.dtype == np.float32
    assert np.abs(out - expected).max() < 1e-5


def test_a_point_becomes_the_kernel():
    """Pixel (x, y) takes the kernel of its own position, of a point at (x0, y0)."""
    shape = (120, 90)
    kernel = kernel_over(shape, 2, size=9)
    image = np.zeros(shape, np.float32)
    image[60, 40] = 1.0
    out = convolve_spatial(image, kernel)
    for dy, dx in [(0, 0), (-4, 4), (2, -3)]:
        expected = kernel.image(40 + dx, 60 + dy)[4 + dy, 4 + dx]
        assert out[60 + dy, 40 + dx] == pytest.approx(expected, abs=1e-6)
    beyond = out.copy()
    beyond[56:65, 36:45] = 0
    assert np.abs(beyond).max() < 1e-6


def test_sum_is_scaled_by_the_kernel_sum():
    shape = (150, 150)
    image = np.zeros(shape, np.float32)
    image[40:110, 40:110] = 1.0
    assert convolve_spatial(image, kernel_over(shape, 0)).sum() == pytest.approx(
        1.3 * image.sum(), rel=1e-5
    )


def test_identity_changes_nothing():
    image = white_noise((700, 530), 2).astype(np.float32)
    assert convolve_spatial(image, SpatialKernel.identity(image.shape, 7)) == pytest.approx(
        image, abs=1e-5
    )


def test_input_is_not_changed():
    image = white_noise((50, 60), 2).astype(np.float32)
    before = image.copy()
    convolve_spatial(image, kernel_over((50, 60), 1))
    assert np.array_equal(image, before)


def test_local_with_one_kernel():
    image = white_noise((600, 100), 3).astype(np.float32)
    stamp = white_noise((7, 7), 4)
    out = convolve_local(image, lambda _x, _y: stamp, 3)
    assert np.abs(out - fftconvolve(image.astype(float), stamp, mode="same")).max() < 1e-4


def test_local_asks_at_the_tile_centres():
    asked = []

    def kernel_at(x, y):
        asked.append((x, y))
        return np.array([[len(asked)]], float)

    out = convolve_local(np.ones((100, 1250), np.float32), kernel_at, 0)
    assert asked == [(255.5, 49.5), (767.5, 49.5), (1136.5, 49.5)]
    assert out[0, ::512].tolist() == pytest.approx([1, 2, 3])


@pytest.mark.parametrize("shape", [(10, 10), (512, 512), (1000, 700)])
def test_tiles_cover_once(shape):
    count = np.zeros(shape, int)
    for y0, y1, x0, x1 in tiles(shape, 15):
        count[y0:y1, x0:x1] += 1
        assert max(y1 - y0, x1 - x0) + 30 <= 512
    assert (count == 1).all()
