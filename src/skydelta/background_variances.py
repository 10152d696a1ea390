"""The background variances of two images at any place of their common grid."""

from dataclasses import dataclass

import numpy as np

from skydelta.cells import cell_medians
from skydelta.mask import UNUSABLE

_CELL = 512
"""They are medians in cells of about this size, px."""


@dataclass(frozen=True)
class BackgroundVariances:
    """Medians of the variance planes in cells.

    Parameters
    ----------
    cells
        (my, mx) counts^2 for each image.
    shape
        (ny, nx) of the images.
    """

    cells: tuple
    shape: tuple

    @classmethod
    def of(cls, exposures, mask):
        """Over the pixels that the mask of the exposures' difference leaves usable."""
        usable = ~mask.any(*UNUSABLE)
        cells = tuple(cell_medians(e.variance, usable, _CELL) for e in exposures)
        return cls(cells, usable.shape)

    def at(self, x, y):
        """Those of the cell at 0-based px x, y: a number for each image."""
        my, mx = self.cells[0].shape
        j = int(np.clip(y * my // self.shape[0], 0, my - 1))
        i = int(np.clip(x * mx // self.shape[1], 0, mx - 1))
        return tuple(float(cells[j, i]) for cells in self.cells)
