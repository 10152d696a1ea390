"""PSFs that are convolution kernels: images, and sums of images that vary with the position."""

from dataclasses import dataclass

import numpy as np

from skydelta.errors import BadPsfError
from skydelta.lsst.image_psf import ImagePsf, as_positions, normalised, square_half, square_stamps


@dataclass(frozen=True)
class FixedKernel:
    """One image (afw: FixedKernel.cc).

    Parameters
    ----------
    image
        (height, width).
    center
        (x, y) element that belongs to the position.

    Raises
    ------
    BadPsfError
        For values that are not finite, or a centre outside the image.
    """

    image: np.ndarray
    center: tuple

    def __post_init__(self):
        _check_center(self)
        if not np.isfinite(self.image).all():
            msg = "the FixedKernel holds values that are not finite"
            raise BadPsfError(msg)

    @property
    def box(self):
        """(width, height), px."""
        return self.image.shape[1], self.image.shape[0]

    def images(self, x, y):
        """(n, height, width) at positions (n,); not normalised."""
        return np.broadcast_to(self.image, (len(x), *self.image.shape))


@dataclass(frozen=True)
class AnalyticKernel:
    """Values of a function of the offset at the pixels' centres (afw: AnalyticKernel.cc).

    Parameters
    ----------
    box
        (width, height), px.
    center
        (x, y) element that belongs to the position.
    function
        Of the offsets x and y from it.
    """

    box: tuple
    center: tuple
    function: object

    def __post_init__(self):
        _check_center(self)

    def images(self, x, y):
        """(n, height, width) at positions (n,); not normalised."""
        (width, height), (x0, y0) = self.box, self.center
        image = self.function(np.arange(width) - x0, np.arange(height)[:, None] - y0)
        return np.broadcast_to(image, (len(x), height, width))


@dataclass(frozen=True)
class LinearCombinationKernel:
    """A sum of kernels with constant or varying amplitudes (afw: LinearCombinationKernel.cc).

    Parameters
    ----------
    components
        Kernels of one box and centre that do not vary.
    center
        (x, y) element that belongs to the position.
    amplitudes
        One number for each component, or None where they vary.
    spatial_functions
        One function of the position (parent px) for each component, or None.

    Raises
    ------
    BadPsfError
        If components do not fit each other, or amplitudes them.
    """

    components: tuple
    center: tuple
    amplitudes: tuple | None = None
    spatial_functions: tuple | None = None

    def __post_init__(self):
        if (self.amplitudes is None) == (self.spatial_functions is None):
            msg = "a LinearCombinationKernel needs either amplitudes or spatial functions"
            raise BadPsfError(msg)
        given = self.amplitudes if self.spatial_functions is None else self.spatial_functions
        if not self.components or len(given) != len(self.components):
            msg = (
                f"the LinearCombinationKernel has {len(self.components)} components and "
                f"{len(given)} amplitudes: the file is damaged"
            )
            raise BadPsfError(msg)
        if len({(tuple(c.box), tuple(c.center)) for c in self.components}) > 1:
            msg = "the components of the LinearCombinationKernel differ in size or centre"
            raise BadPsfError(msg)
        _check_center(self)

    @property
    def box(self):
        """(width, height), px."""
        return self.components[0].box

    def images(self, x, y):
        """(n, height, width) at positions (n,); not normalised."""
        zero = np.zeros(1)
        parts = np.stack([component.images(zero, zero)[0] for component in self.components])
        return np.tensordot(self._amplitudes(x, y), parts, axes=1)

    def _amplitudes(self, x, y):
        if self.spatial_functions is None:
            return np.broadcast_to(
                np.asarray(self.amplitudes, float), (len(x), len(self.components))
            )
        return np.stack([np.broadcast_to(f(x, y), x.shape) for f in self.spatial_functions], axis=1)


def _check_center(kernel):
    (width, height), (x, y) = kernel.box, kernel.center
    if not (0 <= x < width and 0 <= y < height):
        msg = f"{type(kernel).__name__} of {width} x {height} px has its centre at ({x}, {y})"
        raise BadPsfError(msg)


@dataclass(frozen=True)
class KernelPsf(ImagePsf):
    """A kernel, normalised (meas_algorithms: KernelPsf.cc).

    Parameters
    ----------
    kernel
        FixedKernel, LinearCombinationKernel or AnalyticKernel.
    average_position
        (x, y) of the stars that made it, px.

    Raises
    ------
    BadPsfError
        On evaluation, where the kernel has no positive sum.
    """

    kernel: object
    average_position: tuple = (0.0, 0.0)

    @property
    def size(self):
        return 2 * square_half(*self.kernel.box, self.kernel.center) + 1

    def stamps(self, x, y):
        images = normalised(self.kernel.images(*as_positions(x, y)), type(self).__name__)
        return square_stamps(images, self.kernel.center)


@dataclass(frozen=True)
class PcaPsf(KernelPsf):
    """A kernel of principal components (meas_algorithms: PcaPsf.cc)."""
