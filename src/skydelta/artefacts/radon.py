"""Fast discrete Radon transform: sums along all straight lines of an image.

Brady (1998), SIAM J. Comput. 27, 107; used for satellite streaks by Nir, Zackay & Ofek (2018),
AJ 156, 229. Sums over strips of 2^k rows come from those of 2^(k-1) rows: n^2 log n additions
instead of n^3.
"""

import numpy as np


def line_sums(image):
    """Sums along every line that leans by at most 45 degrees from the vertical.

    Parameters
    ----------
    image
        (n_rows, n_columns), n_rows a power of two.

    Returns
    -------
    ndarray
        (2 n_rows - 1, n_columns + 2 n_rows - 2): element [n_rows - 1 + lean, n_rows - 1 + x0] is
        the sum along the line from (x0, row 0) to (x0 + lean, last row), for leans from
        -(n_rows - 1) to n_rows - 1; the margins hold lines that begin outside the image.
    """
    n_rows = image.shape[0]
    right = _leaning_right(image)
    left = _leaning_right(image[:, ::-1])[:, ::-1]
    margin = n_rows - 1
    sums = np.zeros((2 * n_rows - 1, image.shape[1] + 2 * margin), right.dtype)
    # A line that leans to the right may begin left of the image, and the other way round.
    sums[margin:, : right.shape[1]] = right
    sums[margin::-1, margin:] = left
    return sums


def _leaning_right(image):
    """Sums [lean, margin + x0], lean from 0 to n_rows - 1, x0 from -margin to n_columns - 1."""
    n_rows, n_columns = image.shape
    if n_rows & (n_rows - 1):
        msg = f"the number of rows must be a power of two, got {n_rows}"
        raise ValueError(msg)
    width = n_columns + n_rows - 1
    strips = np.zeros((n_rows, 1, width), image.dtype)
    strips[:, 0, n_rows - 1 :] = image
    height = 1
    while height < n_rows:
        lower, upper = strips[0::2], strips[1::2]
        strips = lower.repeat(2, axis=1)
        for lean in range(2 * height):
            # The upper half begins where the lower one, half a lean on, has come to.
            shift = (lean + 1) // 2
            strips[:, lean, : width - shift] += upper[:, lean // 2, shift:]
        height *= 2
    return strips[0]
