"""PSFEx models against the C code of LSST's fork, and their own symmetries."""

import numpy as np
import pytest

from skydelta.errors import BadPsfError
from skydelta.lsst.psfex_psf import PsfexPsf
from skydelta.psf import adaptive_shape

CONTEXT = ((1000.0, 900.0), (2000.0, 1900.0))

# Made with poly_func (poly.c) and vignet_resample (vignet.c) of github.com/lsst/psfex, compiled
# with gcc and called in the order of PsfexPsf.cc for the models of `model`. Each line: (width,
# height, degree, pixstep, FWHM), x, y, whether at the sub-pixel position (computeImage) or centred
# (computeKernelImage), the box (width, height, x0, y0), and the values of the pixels (middle,
# right of it, two up and one left, [1, 1], [last row, middle - 2]).
GOLDEN = [
    ((21, 21, 2, 0.5, 5.0), 300.0, 400.0, False, (11, 11, -5, -5),
     (0.116387136, 0.0747593865, 0.0287794415, 8.80492408e-08, 3.21193111e-05)),
    ((21, 21, 2, 0.5, 5.0), 1512.3, 77.85, True, (11, 11, 1507, 73),
     (0.113841429, 0.0908015594, 0.0197053161, 9.05523834e-08, 0.0)),
    ((21, 21, 2, 0.5, 5.0), 12.0, 1.49, True, (11, 11, 7, -4),
     (0.104549602, 0.075883016, 0.0449867323, 1.75438206e-08, 0.000122981946)),
    ((15, 17, 1, 1.0, 3.5), 1834.5, 3999.51, True, (15, 17, 1827, 3992),
     (0.0548063256, 0.0522278324, 0.0171543807, 3.27770806e-08, 0.0)),
    ((19, 19, 3, 0.7, 4.0), 300.0, 400.0, False, (13, 13, -6, -6),
     (0.0951548219, 0.0632366389, 0.0303246509, 8.94790233e-08, 1.0232332e-05)),
    ((19, 19, 3, 0.7, 4.0), 12.0, 1.49, True, (13, 13, 6, -5),
     (0.0881187916, 0.0654117092, 0.0457005985, 1.4801903e-09, 2.87258699e-05)),
    ((25, 23, 2, 0.45, 6.0), 1834.5, 3999.51, True, (11, 11, 1829, 3995),
     (0.0838065967, 0.0824117139, 0.0122852912, 2.76380177e-07, 0.0)),
    ((20, 22, 0, 0.6, 5.0), 1512.3, 77.85, True, (13, 13, 1506, 72),
     (0.0782728195, 0.0682445019, 0.0229247157, -1.49940735e-08, 0.0)),
]  # fmt: skip


def model(width, height, degree, pixstep, fwhm):
    y, x = np.mgrid[:height, :width]
    y, x = y - height // 2, x - width // 2
    first = np.exp(-(x**2 + 0.7 * y**2 + 0.3 * x * y) / (2 * (fwhm / 2.35) ** 2))
    terms = (degree + 1) * (degree + 2) // 2
    rest = [0.02 * first * np.cos(0.3 * k * x + 0.2 * k * y + k) for k in range(1, terms)]
    components = np.array([first, *rest], np.float32)
    return PsfexPsf(components, (degree,), (0, 0), CONTEXT, pixstep)


@pytest.mark.parametrize(("shape", "x", "y", "shifted", "box", "values"), GOLDEN)
def test_equal_to_the_c_code(shape, x, y, shifted, box, values):
    psf = model(*shape)
    half = psf.size // 2
    if shifted:
        stamps, x0, y0 = psf.images([x], [y])
        stamp, x0, y0 = stamps[0], x0[0], y0[0]
    else:
        stamp, x0, y0 = psf.stamp(x, y), -half, -half
    width, height, box_x, box_y = box
    assert psf.box == (width, height)
    cut = stamp[box_y - y0 :, box_x - x0 :][:height, :width]
    assert np.abs(stamp).sum() == pytest.approx(np.abs(cut).sum(), rel=1e-12)
    j, i = height // 2, width // 2
    got = cut[j, i], cut[j, i + 1], cut[j + 2, i - 1], cut[1, 1], cut[-1, i - 2]
    np.testing.assert_allclose(got, values, rtol=0, atol=1e-6 * cut.max())


def test_many_positions_at_once_are_those_of_each():
    psf = model(21, 21, 2, 0.5, 5.0)
    x, y = np.random.default_rng(0).uniform(0, 4000, (2, 150))  # more than one batch
    stamps, x0, y0 = psf.images(x, y)
    assert stamps.sum(axis=(1, 2)) == pytest.approx(np.ones(150), abs=1e-12)
    for k in (0, 63, 64, 149):
        alone, left, low = psf.images(x[k], y[k])
        np.testing.assert_allclose(alone[0], stamps[k], atol=1e-8)
        assert (left[0], low[0]) == (x0[k], y0[k])


def test_a_star_lies_where_it_was_asked_for():
    psf = model(41, 41, 0, 0.5, 6.0)
    x, y = np.array([500.25, -3.7, 10.5]), np.array([700.6, -0.2, 20.5])
    stamps, x0, y0 = psf.images(x, y)
    yy, xx = np.mgrid[: psf.size, : psf.size]
    centre_x = (stamps * xx).sum(axis=(1, 2)) + x0
    centre_y = (stamps * yy).sum(axis=(1, 2)) + y0
    np.testing.assert_allclose(centre_x, x, atol=1e-2)
    np.testing.assert_allclose(centre_y, y, atol=1e-2)


def test_sampling_does_not_change_the_width():
    """A Gaussian of 3 px, modelled at half a pixel and at one: second moments 9."""
    y, x = np.mgrid[-30:31, -30:31]
    for step in (0.5, 1.0):
        component = np.exp(-0.5 * (x**2 + y**2) * step**2 / 9.0)[None].astype(np.float32)
        shape = adaptive_shape(PsfexPsf(component, (0,), pixstep=step).stamp(0, 0))
        assert shape.ixx == pytest.approx(9.0, rel=2e-3)
        assert shape.ixy == pytest.approx(0.0, abs=1e-4)


def test_groups_of_their_own_degrees():
    """One group each for x (degree 1) and y (degree 2): all products of their powers."""
    components = np.random.default_rng(1).uniform(1, 2, (6, 5, 5)).astype(np.float32)
    psf = PsfexPsf(components, (1, 2), (0, 1), ((0.0, 1.0), (0.0, 1.0)))
    u, v = 0.3, -0.4
    expected = np.tensordot([1, u, v, u * v, v**2, u * v**2], components.astype(float), axes=1)
    np.testing.assert_allclose(psf.stamp(u, v), expected / expected.sum(), rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"degree": (1,)}, "has 3 terms"),
        ({"group": (0, 1)}, "no degree for each"),
        ({"group": (0, 0, 0)}, "depends on 3 quantities"),
        ({"pixstep": 0.0}, "pixel step"),
        ({"context": ((0.0, 0.0), (0.0, 1.0))}, "no valid scale"),
        ({"components": np.full((6, 5, 5), np.nan, np.float32)}, "not finite"),
    ],
)
def test_what_cannot_be_a_model(change, text):
    sound = {"components": np.ones((6, 5, 5), np.float32), "degree": (2,), "pixstep": 1.0}
    with pytest.raises(BadPsfError, match=text):
        PsfexPsf(**(sound | change))


def test_no_positive_sum():
    with pytest.raises(BadPsfError, match="no positive sum"):
        PsfexPsf(-np.ones((1, 5, 5), np.float32), (0,)).stamps([1.0], [2.0])
