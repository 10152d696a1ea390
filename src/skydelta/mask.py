"""Mask planes: an integer image whose bits have names.

Bit numbers belong to a file, names belong to the science: code asks for names only. Readers map
every file onto the canonical numbers below (those of the LSST stack where it has them); planes
with other names keep their name and get the next free bit.
"""

from dataclasses import dataclass, field

import numpy as np

PLANES = {
    "BAD": 0,
    "SAT": 1,
    "INTRP": 2,
    "CR": 3,
    "EDGE": 4,
    "DETECTED": 5,
    "DETECTED_NEGATIVE": 6,
    "SUSPECT": 7,
    "NO_DATA": 8,
    "SAT_TEMPLATE": 9,
    "CR_TEMPLATE": 10,
}

MAX_BIT = 30
"""Highest usable bit: masks are written as 32-bit signed integers."""

_ROWS = 64

UNUSABLE = ("BAD", "SAT", "CR", "EDGE", "NO_DATA", "SAT_TEMPLATE")
"""Planes whose pixels carry no information about the sky."""


@dataclass(frozen=True)
class Mask:
    """Bit planes of an image.

    Parameters
    ----------
    array
        (ny, nx) int32.
    planes
        Bit number of each plane name.
    """

    array: np.ndarray
    planes: dict = field(default_factory=lambda: dict(PLANES))

    @classmethod
    def empty(cls, shape):
        """No bit set, canonical planes."""
        return cls(np.zeros(shape, np.int32))

    def bits(self, *names):
        """Integer with the bits of the named planes; planes this mask lacks count as empty."""
        return int(sum(1 << self.planes[n] for n in set(names) if n in self.planes))

    def any(self, *names):
        """(ny, nx) bool: where at least one of the named planes is set."""
        bits, out = np.int32(self.bits(*names)), np.empty(self.array.shape, bool)
        for row in range(0, len(out), _ROWS):  # no second plane, and the rows stay in the cache
            part = slice(row, row + _ROWS)
            np.not_equal(self.array[part] & bits, 0, out=out[part])
        return out

    def with_plane(self, name, where):
        """A copy with plane `name` also set where the (ny, nx) bool `where` is true."""
        planes = add_planes(self.planes, [name])
        array = self.array.copy()
        array[where] |= np.int32(1 << planes[name])
        return Mask(array, planes)

    def canonical(self):
        """The same planes on the canonical bit numbers; unknown names follow behind."""
        planes = add_planes(dict(PLANES), self.planes)
        moves = [(bit, planes[name]) for name, bit in self.planes.items()]
        if all(old == new for old, new in moves):
            return Mask(self.array.astype(np.int32, copy=False), planes)
        kept = np.int32(sum(1 << old for old, new in moves if old == new))
        array = self.array & kept
        present = int(np.bitwise_or.reduce(self.array, axis=None))
        for old, new in moves:
            if old != new and present >> old & 1:
                array |= ((self.array >> old) & 1).astype(np.int32, copy=False) << np.int32(new)
        return Mask(array.astype(np.int32, copy=False), planes)


def add_planes(planes, names):
    """`planes` extended by those of `names` it lacks, on the lowest free bits.

    Raises
    ------
    ValueError
        If no bit is left.
    """
    planes = dict(planes)
    for name in names:
        if name in planes:
            continue
        used = set(planes.values())
        free = next((b for b in range(MAX_BIT + 1) if b not in used), None)
        if free is None:
            msg = f"no free mask bit for plane {name!r}: {len(planes)} planes are in use"
            raise ValueError(msg)
        planes[name] = free
    return planes
