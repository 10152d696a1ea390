"""The package sfft (Hu et al. 2022), which solves for a kernel of free pixels in Fourier space.

Its own preparation finds the sources with SExtractor. Here the solver is called on arrays, and the
pixels that it may look at are discs about stars of ours: no program is needed. As the solver has no
weights, every other pixel is set to zero in both images, which presupposes images without sky; the
sky is taken off before.

The kernel's polynomial is that of the *template* pixel which a kernel moves, not of the pixel it is
moved to; over the width of a kernel the two differ by little.
"""

import contextlib
import io
import time
import warnings
from dataclasses import dataclass

import numpy as np

from skydelta.background import estimate_background
from skydelta.convolve import convolve_local
from skydelta.engines import (
    EngineFailedError,
    EngineMissingError,
    EngineResult,
    bad_pixels,
    fwhms,
    kernel_grid,
)
from skydelta.errors import TooFewStarsError
from skydelta.kernel_stars import kernel_stars

_MISSING_WEIGHT = 0.01
"""A pixel is lost when more than this share of its kernel lies on bad pixels, as in hotpants."""


@dataclass(frozen=True)
class SfftOptions:
    """All choices of a run of sfft.

    Parameters
    ----------
    order
        Degree of the kernel's polynomial over the image, 0 to 3.
    background_order
        Degree of the background solved for with it; 0 is right where only stars are looked at.
    half
        Half width of the kernel, px; None for twice the larger FWHM within 2 and 20.
    constant_sum
        Whether the kernel sum is the same everywhere.
    star_radius
        Radius of the discs about stars, px; None for 4 times the larger FWHM.
    max_change
        Stars whose flux ratio is further than this from the median are left out, magnitudes, as in
        sfft's own preparation: the solver rejects no star, and one variable star bends the kernel
        sum by a per cent. None for all stars.
    subtract_sky
        Whether the sky is measured and taken off both images first.
    sky_cell
        Cells of the mesh it is measured on, px; None for a quarter of the image within 32 and 128.
    threads
        For the transforms and the compiled loops.
    cache
        Whether the compiled loops are kept on disk, by sfft, for the next image of this shape.
    kernel_nodes
        Kernels are sampled on so many positions along each axis.
    """

    order: int = 2
    background_order: int = 0
    half: int | None = None
    constant_sum: bool = True
    star_radius: float | None = None
    max_change: float | None = 0.12
    subtract_sky: bool = True
    sky_cell: int | None = None
    threads: int = 1
    cache: bool = True
    kernel_nodes: int = 5


def run_sfft(science, template, options=None, *, stars=None):
    """Science minus template with sfft on the CPU, always convolving the template.

    Parameters
    ----------
    science, template
        Exposures on one grid, each with its PSF.
    options
        SfftOptions.
    stars
        (m, 2) x and y of the stars to solve for the kernel with, 0-based px; by default those that
        `skydelta.kernel_stars` finds.

    Returns
    -------
    EngineResult
        Without a noise image: sfft knows no noise. Compiling is not in its CPU seconds.

    Raises
    ------
    EngineMissingError
        If the package is not installed.
    TooFewStarsError
        If no star can be used.
    EngineFailedError
        If sfft fails.
    NoPsfError
        If one of the exposures has no PSF.
    """
    options = options or SfftOptions()
    package = _import()
    fwhm = max(fwhms(science, template))
    half = options.half or int(np.clip(round(2.0 * fwhm), 2, 20))
    radius = options.star_radius or 4.0 * fwhm
    bad_science, bad_template = bad_pixels(science, template)
    if stars is None:
        found = kernel_stars(science, template, half, int(np.ceil(radius)))
        stars = np.column_stack([found["x"], found["y"]])
    images = [
        _without_sky(exposure, bad, options)
        for exposure, bad in ((template, bad_template), (science, bad_science))
    ]
    stars = np.asarray(stars, float).reshape(-1, 2)
    used = _clean(bad_science | bad_template, stars, radius)
    if not used.any():
        msg = f"none of {len(stars)} stars is free of bad pixels within {radius:.0f} px"
        raise TooFewStarsError(msg, n_stars=0)
    if options.max_change is not None:
        used[used] = _constant(*images, stars[used], fwhm, options.max_change)
    active = np.zeros(science.shape, bool)
    for box, disc in _discs(science.shape, stars[used], radius):
        active[box] |= disc
    run = _solve(package, *images, active, half, options)
    x, y = kernel_grid(science.shape, options.kernel_nodes)
    kernels = _kernels(package, run, x, y)
    if not (np.isfinite(kernels).all() and np.isfinite(run.difference).all()):
        msg = f"sfft found a kernel that is not finite from {used.sum()} stars"
        raise EngineFailedError(msg, run.log)
    lost = bad_science | _reached(bad_template, kernels, half)
    notes = [
        f"sfft solved for its kernel on {used.sum()} of {len(used)} stars, "
        f"{active.mean():.2%} of the image",
        f"sfft compiled its loops for {run.compile_seconds:.1f} CPU s before",
    ]
    if options.subtract_sky:
        notes.append("the sky of both images was taken off before sfft")
    return EngineResult(
        image=np.where(lost, 0.0, run.difference).astype(np.float32),
        lost=lost,
        noise=None,
        kernel_x=x,
        kernel_y=y,
        kernels=kernels,
        order=options.order,
        cpu_seconds=run.cpu_seconds,
        wall_seconds=run.wall_seconds,
        stars=stars[used],
        notes=tuple(notes),
        log=run.log,
    )


@dataclass(frozen=True)
class _Package:
    """The parts of sfft and numba that are used."""

    configure: object
    subtract: object
    kernels: object
    numba: object


@dataclass(frozen=True)
class _Run:
    """What sfft gave: solution with its parameters, difference, times, and what it printed."""

    solution: np.ndarray
    parameters: dict
    difference: np.ndarray
    compile_seconds: float
    cpu_seconds: float
    wall_seconds: float
    log: str


def _import():
    try:
        import numba
        from sfft.sfftcore.SFFTConfigure import SingleSFFTConfigure
        from sfft.sfftcore.SFFTSubtract import GeneralSFFTSubtract
        from sfft.utils.SFFTSolutionReader import Realize_MatchingKernel
    except ImportError as error:
        msg = f"the package sfft cannot be imported ({error}): pip install 'skydelta[sfft]'"
        raise EngineMissingError(msg) from error
    return _Package(SingleSFFTConfigure, GeneralSFFTSubtract, Realize_MatchingKernel, numba)


def _discs(shape, stars, radius):
    """For each star its box and the disc in it: (slices, bool array); None beyond the image."""
    ny, nx = shape
    for x, y in stars:
        x0, x1 = int(np.ceil(x - radius)), int(np.floor(x + radius)) + 1
        y0, y1 = int(np.ceil(y - radius)), int(np.floor(y + radius)) + 1
        if x0 < 0 or y0 < 0 or x1 > nx or y1 > ny:
            yield None
            continue
        yy, xx = np.mgrid[y0:y1, x0:x1]
        yield np.s_[y0:y1, x0:x1], (xx - x) ** 2 + (yy - y) ** 2 <= radius**2


def _clean(bad, stars, radius):
    """(m,) bool: stars whose disc lies on the image and holds no bad pixel."""
    discs = _discs(bad.shape, stars, radius)
    return np.array([d is not None and not bad[d[0]][d[1]].any() for d in discs], bool)


def _constant(template, science, stars, radius, max_change):
    """(m,) bool: stars whose flux ratio in a circle is near the median, in magnitudes."""
    fluxes = np.array(
        [
            (template[box][disc].sum(), science[box][disc].sum())
            for box, disc in _discs(science.shape, stars, radius)
        ]
    )
    positive = (fluxes > 0).all(axis=1)
    ratio = np.where(positive, fluxes[:, 1], np.nan) / np.where(positive, fluxes[:, 0], np.nan)
    if not positive.any():
        return positive
    change = -2.5 * np.log10(ratio / np.nanmedian(ratio))
    return positive & (np.abs(np.where(positive, change, np.inf)) <= max_change)


def _without_sky(exposure, bad, options):
    """(ny, nx) float64 without sky and without values that are not finite."""
    image = exposure.image.astype(float)
    if options.subtract_sky:
        image -= estimate_background(exposure.image, bad, cell=options.sky_cell).level
    return np.where(np.isfinite(image), image, 0.0)


def _solve(package, template, science, active, half, options):
    """Run sfft on arrays indexed [y, x]: its first axis, which it calls x, is ours y."""
    ny, nx = science.shape
    backend = {"BACKEND_4SUBTRACT": "Numpy", "NUM_CPU_THREADS_4SUBTRACT": options.threads}
    printed = io.StringIO()
    clock = [time.process_time()]
    try:
        with _captured(printed), _numba_threads(package.numba, options.threads):
            config = package.configure.SSC(
                NX=ny,
                NY=nx,
                KerHW=half,
                KerPolyOrder=options.order,
                BGPolyOrder=options.background_order,
                ConstPhotRatio=options.constant_sum,
                NUMBA_CACHE=options.cache,
                **backend,
            )
            clock.append(time.process_time())
            started = time.perf_counter()
            solution, difference, _ = package.subtract.GSS(
                PixA_I=template,
                PixA_J=science,
                PixA_mI=np.where(active, template, 0.0),
                PixA_mJ=np.where(active, science, 0.0),
                SFFTConfig=config,
                **backend,
            )
            wall_seconds = time.perf_counter() - started
            clock.append(time.process_time())
    except Exception as error:  # sfft raises plain Exception
        raise EngineFailedError(f"sfft failed: {error}", printed.getvalue()) from error
    compile_seconds, cpu_seconds = np.diff(clock)
    return _Run(
        solution=solution,
        parameters=config[0],
        difference=difference,
        compile_seconds=float(compile_seconds),
        cpu_seconds=float(cpu_seconds),
        wall_seconds=wall_seconds,
        log=printed.getvalue(),
    )


@contextlib.contextmanager
def _captured(stream):
    """What is printed or warned about goes to the stream."""
    with warnings.catch_warnings(record=True) as caught, contextlib.redirect_stdout(stream):
        warnings.simplefilter("always")
        try:
            yield
        finally:
            stream.writelines(f"warning: {w.message}\n" for w in caught)


@contextlib.contextmanager
def _numba_threads(numba, threads):
    """The number of threads of compiled loops.

    sfft means to set it but overwrites the function numba.set_num_threads with the number; the
    function is put back.
    """
    setter, before = numba.set_num_threads, numba.get_num_threads()
    setter(min(threads, numba.config.NUMBA_NUM_THREADS))
    try:
        yield
    finally:
        numba.set_num_threads = setter
        setter(before)


def _kernels(package, run, x, y):
    """(n, k, k) kernels at 0-based positions, indexed [y, x]."""
    at = np.column_stack([y, x]) + 1.0
    names = ("N0", "N1", "L0", "L1", "DK", "Fpq")
    reader = package.kernels(XY_q=at)
    return reader.FromArray(Solution=run.solution, **{n: run.parameters[n] for n in names})


def _reached(bad, kernels, half):
    """Where too much of the mean kernel lies on bad template pixels or beyond the edge."""
    magnitude = np.abs(kernels.mean(axis=0))
    padded = np.pad(bad.astype(np.float32), half, constant_values=np.float32(1))
    share = convolve_local(padded, lambda _x, _y: magnitude / magnitude.sum(), half)
    lost = share[half:-half, half:-half] > _MISSING_WEIGHT
    for edge in (np.s_[:half], np.s_[-half:], np.s_[:, :half], np.s_[:, -half:]):
        lost[edge] = True  # there the transform brings in the opposite edge
    return lost
