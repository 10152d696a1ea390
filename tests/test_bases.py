import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import gaussian_stamp, white_noise
from scipy.ndimage import laplace
from scipy.signal import fftconvolve

from skydelta.bases import CombinedBasis, DeltaBasis, GaussianBasis, PsfBasis, convolved_with
from skydelta.kernel import SpatialKernel
from skydelta.kernel_basis import BasisSpec
from skydelta.polynomial import n_terms
from skydelta.whitening import convolve_stamps

SHAPE = (400, 500)
SPEC = BasisSpec((0.8, 1.7), (2, 3), 9)


def first_kernel(order, size=7, seed=0):
    """A kernel of unit sum everywhere that varies as a polynomial."""
    rng = np.random.default_rng(seed)
    coefficients = rng.normal(0, 0.3, (3, n_terms(order)))
    coefficients[0] = np.eye(1, n_terms(order))
    stamps = np.stack([gaussian_stamp(s, size, dx) for s, dx in ((1.2, 0), (0.9, 0.4), (1.6, 0))])
    stamps /= stamps.sum(axis=(1, 2), keepdims=True)
    stamps[1:] -= stamps[0]
    return SpatialKernel.polynomial(stamps, coefficients, order, [0.0], 0, SHAPE)


def combination(parent, n=3, seed=1):
    matrix = np.random.default_rng(seed).normal(size=(n, len(parent)))
    matrix[:, 0] = 0.0
    matrix[0, 0] = 1.0
    return CombinedBasis(parent, matrix)


BASES = {
    "gaussian": GaussianBasis(SPEC),
    "delta": DeltaBasis(5),
    "combined gaussian": combination(GaussianBasis(SPEC)),
    "combined delta": combination(DeltaBasis(5)),
    "psf gaussian": PsfBasis(GaussianBasis(BasisSpec((0.9,), (2,), 5)), first_kernel(1)),
    "psf delta": PsfBasis(DeltaBasis(3), first_kernel(2)),
}


@pytest.fixture(params=BASES)
def basis(request):
    return BASES[request.param]


class TestEveryBasis:
    def test_design_is_direct_convolution(self, basis):
        """Every function convolved with every stamp, where the kernel lies within; then a one."""
        x, y = np.array([20.0, 250.0, 480.0]), np.array([390.0, 200.0, 10.0])
        source = white_noise((3, 14 + basis.size, 14 + basis.size), 2)
        design = basis.design(source, x, y)
        assert design.shape == (3, len(basis) + 1, 15 * 15)
        assert (design[:, -1] == 1).all()
        for k in range(3):
            for row, function in zip(design[k], functions_at(basis, x[k], y[k]), strict=False):
                expected = fftconvolve(source[k], function, mode="valid")
                assert row.reshape(15, 15) == pytest.approx(expected, abs=1e-10)

    def test_first_has_unit_sum_the_others_none(self, basis):
        sums = basis.functions.sum(axis=(1, 2))
        assert sums[0] == pytest.approx(1.0, abs=1e-10)
        assert np.abs(sums[1:]).max() < 1e-5
        assert basis.size == 2 * basis.half + 1 == basis.functions.shape[-1]

    def test_coefficient_of_the_first_is_the_kernel_sum(self, basis):
        rng = np.random.default_rng(5)
        coefficients = rng.normal(size=(len(basis), n_terms(1)))
        coefficients[0] = [1.7, 0.0, 0.0]
        kernel = basis.kernel(coefficients, SHAPE)
        sums = kernel.at([0, 250, 499], [399, 100, 0]).sum(axis=(1, 2))
        assert sums == pytest.approx(1.7, abs=1e-4)
        assert kernel.size == basis.size

    def test_gram_is_the_covariance_of_convolved_noise(self, basis):
        noise = white_noise((700, 700), 3)
        assert_covariance(basis, noise, basis.gram())

    def test_gram_of_correlated_noise(self, basis):
        """Noise of variance v after a filter w is taken as v sum(w)^2 rho, rho of unit sum."""
        weights = np.outer([0.2, 0.6, 0.2], [0.25, 0.5, 0.25])
        noise = fftconvolve(white_noise((700, 700), 4), weights, mode="valid")
        rho = convolve_stamps(weights, weights[::-1, ::-1], 5)
        assert rho.sum() == pytest.approx(1.0)
        assert_covariance(basis, noise, basis.gram(rho))

    def test_roughness_is_the_sum_of_squared_laplacians(self, basis):
        coefficients = np.random.default_rng(6).normal(size=len(basis))
        image = np.pad(np.tensordot(coefficients, basis.functions, 1), 2)
        expected = (laplace(image, mode="constant") ** 2).sum()
        assert coefficients @ basis.roughness @ coefficients == pytest.approx(expected)

    def test_roughness_is_positive(self, basis):
        values = np.linalg.eigvalsh(basis.roughness)
        assert values.min() > -1e-10 * values.max()


def functions_at(basis, x, y):
    """The functions at a place; those of a PsfBasis follow its first kernel."""
    if not isinstance(basis, PsfBasis):
        return basis.functions
    return [fftconvolve(f, basis.first.image(x, y)) for f in basis.parent.functions]


def assert_covariance(basis, noise, gram):
    planes = np.stack([fftconvolve(noise, f, mode="valid").ravel() for f in basis.functions])
    found = planes @ planes.T / planes.shape[1]
    scale = np.sqrt(np.diag(gram))
    assert np.abs(found - gram).max(initial=0) < 0.04 * scale.max() ** 2
    assert (np.abs(found - gram) / np.outer(scale, scale)).max() < 0.04


sigmas = st.one_of(st.just(0.1), st.floats(0.05, 8.0))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(sigmas, st.integers(0, 4)), min_size=1, max_size=4),
    st.integers(1, 15).map(lambda half: 2 * half + 1),
)
def test_only_the_first_gaussian_has_a_sum(gaussians, size):
    spec = BasisSpec(*(tuple(column) for column in zip(*gaussians, strict=True)), size)
    functions = GaussianBasis(spec).functions
    sums = functions.sum(axis=(1, 2))
    assert np.isfinite(functions).all()
    assert sums[0] == pytest.approx(1.0, abs=1e-9)
    norms = np.sqrt((functions[1:] ** 2).sum(axis=(1, 2)))
    assert (np.abs(sums[1:]) < 1e-5).all()
    assert (np.isclose(norms, 1.0) | (norms == 0)).all()


class TestDelta:
    def test_functions_span_all_kernels(self):
        functions = DeltaBasis(5).functions.reshape(25, 25)
        assert np.linalg.matrix_rank(functions) == 25
        assert functions[0].reshape(5, 5)[2, 2] == 1.0

    @pytest.mark.parametrize("size", [1, 4, 0])
    def test_size(self, size):
        with pytest.raises(ValueError, match=f"odd and at least 3, got {size}"):
            DeltaBasis(size)


class TestPsfBasis:
    @pytest.mark.parametrize("first_order", [1, 2])
    @pytest.mark.parametrize("order", [0, 1, 2])
    def test_kernel_is_the_product_everywhere(self, first_order, order):
        """Of two polynomials of degrees m and n, of degree m + n, exactly."""
        parent = GaussianBasis(BasisSpec((0.8, 1.6), (2, 1), 9))
        basis = PsfBasis(parent, first_kernel(first_order))
        coefficients = np.random.default_rng(8).normal(size=(len(parent), n_terms(order)))
        kernel = basis.kernel(coefficients, SHAPE)
        correction = parent.kernel(coefficients, SHAPE)
        assert kernel.size == basis.size == 15
        rng = np.random.default_rng(9)
        for x, y in zip(rng.uniform(-0.5, 499.5, 8), rng.uniform(-0.5, 399.5, 8), strict=True):
            expected = fftconvolve(correction.image(x, y), basis.first.image(x, y))
            assert kernel.image(x, y) == pytest.approx(expected, abs=1e-10)

    def test_functions_are_those_of_the_image_centre(self):
        basis = BASES["psf gaussian"]
        expected = functions_at(basis, (SHAPE[1] - 1) / 2, (SHAPE[0] - 1) / 2)
        assert basis.functions == pytest.approx(np.stack(expected), abs=1e-12)

    def test_name(self):
        assert BASES["psf delta"].name == "psf * delta"
        assert BASES["combined gaussian"].name == "gaussian components"


@pytest.mark.parametrize(("width", "size"), [(11, 3), (16, 7), (9, 9)])
def test_each_stamp_with_its_own_kernel(width, size):
    source, kernels = white_noise((4, width, width), 1), white_noise((4, size, size), 2)
    out = convolved_with(source, kernels)
    for one, stamp, kernel in zip(out, source, kernels, strict=True):
        assert one == pytest.approx(fftconvolve(stamp, kernel, mode="valid"), abs=1e-12)
