"""Piff's PSFs: what may be unpickled, and the box that is drawn on."""

import os
import pickle
from dataclasses import dataclass
from types import SimpleNamespace

import galsim
import numpy as np
import pytest

from skydelta.errors import BadPsfError, UnsupportedError
from skydelta.lsst import piff_psf
from skydelta.lsst.piff_psf import PiffPsf


@dataclass
class Result:
    """Draws a Gaussian as piff.PSF.draw does: on the box about the nearest pixel."""

    sigma: float = 2.0
    interp_property_names: tuple = ("u", "v")

    @property
    def stars(self):
        def star(x, flagged):
            where = SimpleNamespace(x=x, y=2 * x)
            return SimpleNamespace(image_pos=where, is_flagged=flagged, is_reserve=False)

        return [star(100.0, False), star(300.0, False), star(9000.0, True)]

    def draw(self, x, y, stamp_size, center):
        image = galsim.Image(stamp_size, stamp_size, dtype=float, scale=1.0)
        image.setCenter(int(np.ceil(x - 0.5)), int(np.ceil(y - 0.5)))
        middle = (x, y) if center is None else image.true_center
        return galsim.Gaussian(sigma=self.sigma).drawImage(image, center=middle, method="no_pixel")


def test_stamps_and_images():
    psf = PiffPsf(31, Result())
    assert psf.average_position == (200.0, 400.0)
    stamp = psf.stamp(100.3, 50.8)
    assert stamp.sum() == pytest.approx(1.0, abs=1e-12)
    np.testing.assert_allclose(stamp, stamp[::-1, ::-1], atol=1e-9)
    x, y = np.array([100.3, 20.5]), np.array([50.8, -3.2])
    stamps, x0, y0 = psf.images(x, y)
    yy, xx = np.mgrid[:31, :31]
    np.testing.assert_allclose((stamps * xx).sum(axis=(1, 2)) + x0, x, atol=1e-5)
    np.testing.assert_allclose((stamps * yy).sum(axis=(1, 2)) + y0, y, atol=1e-5)


def test_even_width_and_colour():
    with pytest.raises(BadPsfError, match="must be odd"):
        PiffPsf(30, Result())
    with pytest.raises(UnsupportedError, match="colour"):
        PiffPsf(31, Result(interp_property_names=("u", "v", "colorValue")))


class Harmful:
    def __reduce__(self):
        return os.system, ("echo harm",)


@pytest.fixture
def some_piff(monkeypatch):
    """A stand-in for the package, which the tests' environment need not have."""
    import sys

    monkeypatch.setitem(sys.modules, "piff", SimpleNamespace(__name__="piff"))


def test_only_what_belongs_to_a_psf_is_unpickled(some_piff, capfd):
    with pytest.raises(BadPsfError, match=r"asks for \w+\.system"):
        piff_psf.unpickled(pickle.dumps((31, 31, Harmful())))
    assert "harm" not in capfd.readouterr().out
    with pytest.raises(BadPsfError, match=r"asks for builtins\.eval"):
        piff_psf.unpickled(pickle.dumps((31, 31, eval)))


def test_pickles_of_something_else(some_piff):
    with pytest.raises(BadPsfError, match="31 x 31 px of a ndarray"):
        piff_psf.unpickled(pickle.dumps((31, 31, np.ones(3))))
    for data in (b"", pickle.dumps((31, 31, np.ones(3)))[:-20], pickle.dumps([1])):
        with pytest.raises((BadPsfError, UnsupportedError), match="pickle of the PiffPsf"):
            piff_psf.unpickled(data)


def test_without_piff(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "piff", None)
    with pytest.raises(UnsupportedError, match=r"pip install 'skydelta\[piff\]'"):
        piff_psf.unpickled(b"")
