"""Where sources are injected, and how bright."""

from dataclasses import dataclass

import numpy as np

from skydelta.efficiency.options import NoRoomError

_TRIES = 20
"""Places drawn for each source before it is given up: the image is full, or has no host left."""


@dataclass(frozen=True)
class Places:
    """Positions for sources.

    Parameters
    ----------
    x, y
        (n,) 0-based px.
    host
        (n,) int, index of the host; -1 off hosts.
    """

    x: np.ndarray
    y: np.ndarray
    host: np.ndarray

    def __len__(self):
        return len(self.x)


def place(hosts, usable, count, *, on_hosts, separation, rng):
    """Positions on hosts, by their light, and evenly on the rest of the usable pixels.

    Parameters
    ----------
    hosts
        skydelta.efficiency.hosts.Hosts.
    usable
        (ny, nx) bool.
    count
        Sources wanted. Fewer are placed where there is no room for all.
    on_hosts
        Fraction of them on hosts; 0 if there is no host.
    separation
        px; no two positions are closer than this along both axes.
    rng
        numpy Generator.

    Raises
    ------
    NoRoomError
        If not one can be placed.
    """
    free = usable.copy()
    some = round(on_hosts * count) if len(hosts) else 0
    found = []
    if some:
        found += _take(free, some, separation, rng, lambda n: hosts.draw(n, rng))
    y, x = np.nonzero(free & ~hosts.occupied())
    if count > some and len(x):

        def anywhere(n):
            index = rng.integers(len(x), size=n)
            return x[index], y[index], np.full(n, -1)

        found += _take(free, count - some, separation, rng, anywhere)
    if not found:
        msg = (
            "no usable pixel to inject a source at: the difference is masked all over, or "
            "efficiency.separation is larger than the image"
        )
        raise NoRoomError(msg)
    px, py, host = (np.array(column) for column in zip(*found, strict=True))
    # Anywhere within the pixel: a grid of centres would flatter the detection.
    shift = rng.uniform(-0.5, 0.5, (2, len(px)))
    return Places(px + shift[0], py + shift[1], host.astype(int))


def _take(free, count, separation, rng, draw):
    """Up to `count` (x, y, host) from `draw` on free pixels; their surroundings become taken."""
    reach = max(int(np.ceil(separation)), 1)
    out = []
    for x, y, host in zip(*draw(_TRIES * count), strict=True):
        if len(out) == count:
            break
        if free[y, x]:
            out.append((x, y, host))
            free[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1] = False
    return out


def grid_values(places, grid, rng):
    """A value of the grid for every place: as often each, on hosts and off, in random order.

    Returns
    -------
    ndarray
        (n,) float.
    """
    values = np.zeros(len(places))
    for some in (places.host >= 0, places.host < 0):
        # The last round of the grid may be cut short: anywhere, not at its upper end.
        repeated = np.resize(rng.permutation(np.asarray(grid, float)), np.count_nonzero(some))
        values[some] = rng.permutation(repeated)
    return values
