"""Other people's subtraction programs on our exposures, for comparison on a user's own data.

One module an engine, each with one function ``run_NAME(science, template, options)`` that returns
an EngineResult. An engine is needed only when it is run: nothing here imports one.
"""

from dataclasses import dataclass

import numpy as np

from skydelta.errors import NoPsfError, SkydeltaError
from skydelta.mask import UNUSABLE
from skydelta.psf import grid_nodes

_LOG_LINES = 12
"""Lines of an engine's log that go into an error message."""


class EngineMissingError(SkydeltaError):
    """The program or package of an engine is not installed."""

    status = "engine_missing"


class EngineFailedError(SkydeltaError):
    """An engine ended with an error or without a difference image.

    Parameters
    ----------
    message
        What happened.
    log
        What the engine wrote; its last lines become part of the message.
    """

    status = "engine_failed"

    def __init__(self, message, log="", **details):
        last = "\n".join(log.rstrip().splitlines()[-_LOG_LINES:])
        super().__init__(f"{message}; its last lines:\n{last}" if last else message, **details)


@dataclass(frozen=True)
class EngineResult:
    """What an engine made of a science exposure and a template.

    Parameters
    ----------
    image
        (ny, nx) float32, science - kernel conv template - background in science counts; 0 where
        lost.
    lost
        (ny, nx) bool, pixels without a difference.
    noise
        (ny, nx) float32, the engine's own standard deviation of a pixel, counts, 0 where lost;
        None from an engine that has none.
    kernel_x, kernel_y
        (n,) positions of the kernels, 0-based px.
    kernels
        (n, k, k), indexed [y, x], k odd: what the template is convolved with, in the sense of
        convolution, not correlation; the sum is science counts per template count.
    order
        Degree of the kernel's polynomial variation.
    cpu_seconds, wall_seconds
        Of the engine alone.
    stars
        (m, 2) x and y of the stars the kernel was fitted to, 0-based px, where the engine tells.
    notes
        What a reader of the result should know, one sentence each.
    log
        What the engine wrote.
    """

    image: np.ndarray
    lost: np.ndarray
    noise: np.ndarray | None
    kernel_x: np.ndarray
    kernel_y: np.ndarray
    kernels: np.ndarray
    order: int
    cpu_seconds: float
    wall_seconds: float
    stars: np.ndarray | None = None
    notes: tuple = ()
    log: str = ""


def bad_pixels(science, template):
    """Pixels that no engine may use: (ny, nx) bool of the science exposure and of the template.

    Cosmic rays make a science pixel bad but not one of a coadd, where the plane marks what was
    cleaned.
    """
    return _bad(science, UNUSABLE), _bad(template, [p for p in UNUSABLE if p != "CR"])


def _bad(exposure, planes):
    known = np.isfinite(exposure.image) & (exposure.variance > 0) & np.isfinite(exposure.variance)
    return exposure.mask.any(*planes) | ~known


def fwhms(science, template):
    """FWHM of both PSFs at the image centre, px.

    Raises
    ------
    NoPsfError
        If one of the exposures has no PSF.
    """
    for exposure, name in ((science, "science exposure"), (template, "template")):
        if exposure.psf is None:
            msg = f"the {name} has no PSF, from which the sizes of the kernel follow"
            raise NoPsfError(msg)
    ny, nx = science.shape
    centre = (nx - 1) / 2.0, (ny - 1) / 2.0
    return tuple(e.psf.compute_shape(*centre).fwhm for e in (science, template))


def kernel_grid(shape, n):
    """Positions x and y, flattened, of n x n kernels from the first to the last pixels."""
    ny, nx = shape
    return tuple(a.ravel() for a in np.meshgrid(grid_nodes(nx, n), grid_nodes(ny, n)))
