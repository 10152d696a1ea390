"""A simulated pair for the engines, and whether a result is what its kernels say."""

from dataclasses import dataclass

import numpy as np
from scipy.signal import fftconvolve

from skydelta.exposure import Exposure
from skydelta.simulate import simulate_pair


@dataclass(frozen=True)
class Scene:
    science: Exposure
    template: Exposure
    flux_scale: float


def make_scene(size, **options):
    pair = simulate_pair((size, size), same_grid=True, seed=3, **options)
    return Scene(pair.science, pair.coadds[0][2], pair.flux_scale)


def residuals(scene, result, *, flipped=False):
    """Rms of science - kernel conv template - image about a plane, near each inner kernel."""
    half = result.kernels.shape[-1] // 2
    ny, nx = scene.science.shape
    out = []
    for x, y, kernel in zip(result.kernel_x, result.kernel_y, result.kernels, strict=True):
        x0, y0 = round(x), round(y)
        if not (3 * half < x0 < nx - 3 * half and 3 * half < y0 < ny - 3 * half):
            continue
        box = np.s_[y0 - 2 * half : y0 + 2 * half + 1, x0 - 2 * half : x0 + 2 * half + 1]
        kernel = kernel[::-1, ::-1] if flipped else kernel
        matched = fftconvolve(scene.template.image[box].astype(float), kernel, mode="same")
        left = scene.science.image[box] - matched - result.image[box]
        inner = np.s_[half:-half, half:-half]
        out.append(_rms_about_plane(left[inner], ~result.lost[box][inner]))
    return np.array(out)


def _rms_about_plane(values, good):
    y, x = np.nonzero(good)
    design = np.column_stack([np.ones(x.size), x, y])
    z = values[good]
    return np.std(z - design @ np.linalg.lstsq(design, z, rcond=None)[0])
