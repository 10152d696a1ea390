"""Stars and galaxies of a template, and their light as a map of where to inject."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from skydelta.background import estimate_background
from skydelta.mask import UNUSABLE
from skydelta.stars import gaussian_smooth

_SMOOTHING = 1.5
"""px; sources are sought on the template smoothed by this."""

_THRESHOLD = 5.0
"""sigma of the smoothed template; fainter light makes no host."""


@dataclass(frozen=True)
class Hosts:
    """Sources of a template and the pixels that are theirs.

    Parameters
    ----------
    x, y
        (n,) peaks, 0-based px.
    pixel_x, pixel_y
        (m,) int, pixels with light of a host, sorted by host.
    light
        (m,) counts above the sky, positive.
    start
        (n + 1,) int: the pixels of host k are start[k] to start[k + 1] - 1.
    image
        (ny, nx) float32, the template less its sky, counts.
    """

    x: np.ndarray
    y: np.ndarray
    pixel_x: np.ndarray
    pixel_y: np.ndarray
    light: np.ndarray
    start: np.ndarray
    image: np.ndarray

    def __len__(self):
        return len(self.x)

    def occupied(self):
        """(ny, nx) bool: pixels that belong to a host."""
        out = np.zeros(self.image.shape, bool)
        out[self.pixel_y, self.pixel_x] = True
        return out

    def draw(self, count, rng):
        """Pixels on hosts: every host is as likely, its pixels are by their light.

        Returns
        -------
        x, y, host
            (count,) int: pixels, and the index of the host each belongs to.
        """
        host = rng.integers(len(self), size=count)
        running = np.r_[0.0, np.cumsum(self.light, dtype=float)]
        low, high = running[self.start[host]], running[self.start[host + 1]]
        at = np.searchsorted(running, low + rng.random(count) * (high - low), side="right") - 1
        at = np.clip(at, self.start[host], self.start[host + 1] - 1)
        return self.pixel_x[at], self.pixel_y[at], host

    def surface_brightness(self, x, y):
        """Mean light of the 3 x 3 px about positions, counts per px."""
        ny, nx = self.image.shape
        i, j = np.rint(x).astype(int), np.rint(y).astype(int)
        total = np.zeros(len(i))
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                total += self.image[np.clip(j + dy, 0, ny - 1), np.clip(i + dx, 0, nx - 1)]
        return total / 9.0


def find_hosts(template, usable):
    """The hosts of a template.

    A pixel whose light, smoothed, exceeds the sky by 5 sigma belongs to the nearest peak. Peaks on
    unusable pixels (saturated stars) keep their pixels from the others and are no hosts.

    Parameters
    ----------
    template
        Exposure on the grid of the science image.
    usable
        (ny, nx) bool: where sources may be injected.

    Returns
    -------
    Hosts
    """
    bad = template.mask.any(*UNUSABLE) | ~np.isfinite(template.image)
    sky = estimate_background(template.image, bad)
    image = np.where(bad, np.float32(0), template.image - sky.level).astype(np.float32)
    # Saturated pixels stay in: the peak they make is that of their star.
    whole = np.where(np.isfinite(template.image), template.image - sky.level, np.float32(0))
    smooth = gaussian_smooth(whole.astype(np.float32), _SMOOTHING)
    blank = sky.blank & ~bad
    noise = 1.4826 * np.median(np.abs(smooth[blank])) if blank.any() else np.inf
    above = smooth > _THRESHOLD * noise
    top = above & (smooth == ndimage.maximum_filter(smooth, 3))
    peak_y, peak_x = np.nonzero(top)
    pixel_y, pixel_x = np.nonzero(above & usable & (image > 0))
    if not len(peak_x) or not len(pixel_x):
        return _no_hosts(image)
    tree = cKDTree(np.column_stack([peak_x, peak_y]))
    owner = tree.query(np.column_stack([pixel_x, pixel_y]))[1]
    good_peak = ~bad[peak_y, peak_x]
    kept = good_peak[owner]
    pixel_x, pixel_y, owner = pixel_x[kept], pixel_y[kept], owner[kept]
    if not len(owner):
        return _no_hosts(image)
    order = np.argsort(owner, kind="stable")
    pixel_x, pixel_y, owner = pixel_x[order], pixel_y[order], owner[order]
    hosts, first = np.unique(owner, return_index=True)
    return Hosts(
        x=peak_x[hosts].astype(float),
        y=peak_y[hosts].astype(float),
        pixel_x=pixel_x,
        pixel_y=pixel_y,
        light=image[pixel_y, pixel_x].astype(float),
        start=np.r_[first, len(owner)],
        image=image,
    )


def _no_hosts(image):
    none, nowhere = np.zeros(0), np.zeros(0, int)
    return Hosts(none, none, nowhere, nowhere, none, np.zeros(1, int), image)
