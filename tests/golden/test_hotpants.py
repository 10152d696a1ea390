"""The kernel solver against hotpants' own coefficients, on the pair the LSST stack uses for it.

The numbers are those of lsst/ip_diffim tests/test_compareToHotpants.py, printed there to 1e-6.
hotpants normalises its basis differently; SCALING is that test's.
"""

import numpy as np
import pytest
from astropy.io import fits

from skydelta.bases import GaussianBasis
from skydelta.kernel_basis import BasisSpec
from skydelta.kernel_solver import normal_equations, solve, spatial_system

SCALING = np.array(
    [
        *(1.0, 8.866037e-02, 1.218095e01, 5.099318e-03, 8.866037e-02),
        *(4.179772e-02, 1.138120e-02, 1.218095e01, 1.138120e-02, 5.099318e-03),
    ]
)
CENTRES = [(32, 32), (96, 32), (160, 32), (96, 95), (31, 96), (160, 96), (96, 160), (160, 160)]
CENTRES += [(32, 160)]

SINGLE = [0.959086, -0.000344, -0.197758, 0.000019, -0.000172, 0.000053, 0.000018, -0.192776]
SINGLE += [0.0, 0.000001, 0.602642]
FOUR = [0.969559, -0.000223, -0.198374, 0.000012, -0.000010, 0.000036, -0.000004, -0.206751]
FOUR += [0.000012, 0.000004, 0.452304]
FOUR_ORDER1 = [
    *((0.969559, 0.0, 0.0), (-0.000082, -0.000620, 0.000185), (-0.197749, 0.001418, -0.003321)),
    *((0.000002, 0.000049, -0.000016), (0.000211, -0.000283, -0.000397)),
    *((0.000034, 0.000002, 0.000006), (-0.000013, 0.000041, -0.000010)),
    *((-0.220238, 0.028395, 0.013148), (0.000019, -0.000025, 0.000003)),
    (0.000003, 0.000000, 0.000005),
]


@pytest.fixture(scope="module")
def pair(shared_data):
    folder = shared_data / "lsst_format"
    planes = []
    for name in ("template", "science"):
        with fits.open(folder / f"SIM_ip_diffim_{name}MI.fits.gz") as hdul:
            planes.append(np.array(hdul[1].data, float))
    return planes


def normal(pair, least):
    """Normal equations, in hotpants' basis, of the stamps beyond pixel `least` in x and y."""
    template, science = pair
    spec = BasisSpec((3.0,), (3,), 19)
    centres = [(x, y) for x, y in CENTRES if x > least and y > least]
    wide = np.stack([template[y - 24 : y + 25, x - 24 : x + 25] for x, y in centres])
    inner = np.stack([science[y - 15 : y + 16, x - 15 : x + 16] for x, y in centres])
    x, y = np.array(centres, float).T
    design = GaussianBasis(spec).design(wide, x, y)
    design[:, :-1] /= SCALING[:, None]
    n, _, pixels = design.shape
    half = 0.5 * science.shape[0]
    equations = normal_equations(design, inner.reshape(n, -1), np.ones((n, pixels)))
    return (*equations, (x - half) / half, (y - half) / half)


@pytest.mark.parametrize(("least", "expected"), [(150, SINGLE), (90, FOUR)])
def test_constant_kernel(pair, least, expected):
    matrices, vectors, x, _ = normal(pair, least)
    constant = np.ones((x.size, 1))
    solution = solve(*spatial_system(matrices, vectors, constant, constant)).values
    np.testing.assert_allclose(solution, expected, atol=1.001e-6)


def test_kernel_of_order_one(pair):
    matrices, vectors, x, y = normal(pair, 90)
    constant = np.ones((x.size, 1))
    p = np.stack([np.ones_like(x), y, x], axis=1)  # hotpants: y first
    solution = solve(*spatial_system(matrices, vectors, p, constant)).values
    kernel = np.zeros((10, 3))
    kernel[0, 0], kernel[1:] = solution[0], solution[1:-1].reshape(9, 3)
    np.testing.assert_allclose(kernel, FOUR_ORDER1, atol=1.001e-6)
    assert solution[-1] == pytest.approx(0.452304, abs=1.001e-6)
