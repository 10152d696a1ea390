"""Kernels, the functions they vary with, and how they are warped, to and from archive rows."""

import numpy as np

from skydelta.errors import CorruptFileError, UnsupportedError
from skydelta.io.afw.output_archive import Catalog
from skydelta.io.afw.rows import array_column, load, point, point_columns

_MATH = "lsst.afw.math"


def read_kernel_psf(archive, number):
    """KernelPsf or PcaPsf."""
    from skydelta.lsst import kernel_psf

    row = archive.row(number)
    kernel = load(archive, row["kernel"], "box", "kernel")
    if kernel is None:
        msg = f"the {archive.class_name(number)}, archive object {number}, has no kernel"
        raise CorruptFileError(msg)
    kind = getattr(kernel_psf, archive.class_name(number))
    return kind(kernel, point(row, "averagePosition"))


def write_kernel_psf(archive, psf):
    """The counterpart of `read_kernel_psf`."""
    columns = {"kernel": ("J", [archive.save(psf.kernel)])}
    columns |= point_columns("averagePosition", "D", psf.average_position)
    return archive.add(type(psf).__name__, "lsst.meas.algorithms", Catalog(columns))


def read_fixed(archive, number):
    """FixedKernel."""
    from skydelta.lsst.kernel_psf import FixedKernel

    row = archive.row(number)
    width, height = point(row, "dimensions")
    image = np.array(row["image"], float).reshape(height, width)
    return FixedKernel(image, point(row, "center"))


def write_fixed(archive, kernel):
    """The counterpart of `read_fixed`."""
    columns = _box_columns(kernel) | {"image": array_column("D", kernel.image)}
    return archive.add("FixedKernel", _MATH, Catalog(columns))


def read_linear_combination(archive, number):
    """LinearCombinationKernel."""
    from skydelta.lsst.kernel_psf import LinearCombinationKernel

    row = archive.row(number)
    components = tuple(load(archive, k, "box", "kernel") for k in np.atleast_1d(row["components"]))
    amplitudes = functions = None
    if "spatialfunctions" in row.array.names:
        functions = tuple(
            load(archive, k, "__call__", "function") for k in np.atleast_1d(row["spatialfunctions"])
        )
    else:
        amplitudes = tuple(np.atleast_1d(row["amplitudes"]).tolist())
    if any(part is None for part in (*components, *(functions or ()))):
        msg = f"the LinearCombinationKernel, archive object {number}, lacks one of its parts"
        raise CorruptFileError(msg)
    return LinearCombinationKernel(components, point(row, "center"), amplitudes, functions)


def write_linear_combination(archive, kernel):
    """The counterpart of `read_linear_combination`."""
    columns = _box_columns(kernel)
    if kernel.spatial_functions is not None:
        numbers = [archive.save(f) for f in kernel.spatial_functions]
        columns["spatialfunctions"] = array_column("J", numbers)
    columns["components"] = array_column("J", [archive.save(c) for c in kernel.components])
    if kernel.amplitudes is not None:
        columns["amplitudes"] = array_column("D", kernel.amplitudes)
    return archive.add("LinearCombinationKernel", _MATH, Catalog(columns))


def read_analytic(archive, number):
    """AnalyticKernel.

    Raises
    ------
    UnsupportedError
        If its parameters vary with the position.
    """
    from skydelta.lsst.kernel_psf import AnalyticKernel

    row = archive.row(number)
    if "spatialfunctions" in row.array.names:
        msg = (
            f"archive object {number} is an AnalyticKernel whose parameters vary with the "
            "position, which this version cannot evaluate: give a PSF file"
        )
        raise UnsupportedError(msg)
    function = load(archive, row["kernelfunction"], "__call__", "function")
    if function is None:
        msg = f"the AnalyticKernel, archive object {number}, has no function"
        raise CorruptFileError(msg)
    return AnalyticKernel(point(row, "dimensions"), point(row, "center"), function)


def write_analytic(archive, kernel):
    """The counterpart of `read_analytic`."""
    columns = _box_columns(kernel)
    columns["kernelfunction"] = "J", [archive.save(kernel.function)]
    return archive.add("AnalyticKernel", _MATH, Catalog(columns))


def _box_columns(kernel):
    return point_columns("dimensions", "J", kernel.box) | point_columns(
        "center", "J", kernel.center
    )


_PARAMETERS = {
    "GaussianFunction2": ("sigma1", "sigma2", "angle"),
    "DoubleGaussianFunction2": ("sigma1", "sigma2", "ampl2"),
}


def read_function(archive, number):
    """A function of the position or of the offset; the name ends in D or F, for its precision."""
    from skydelta.lsst import functions

    row = archive.row(number)
    name = archive.class_name(number)[:-1]
    kind = getattr(functions, name)
    if name in _PARAMETERS:
        return kind(*(float(row[parameter]) for parameter in _PARAMETERS[name]))
    coefficients = tuple(np.atleast_1d(row["coefficients"]).tolist())
    if name == "PolynomialFunction2":
        return kind(coefficients)
    return kind(coefficients, point(row, "min"), point(row, "max"))


def write_function(archive, function):
    """The counterpart of `read_function`."""
    name = type(function).__name__
    if name in _PARAMETERS:
        columns = {p: ("D", [getattr(function, p)]) for p in _PARAMETERS[name]}
    else:
        columns = {"coefficients": array_column("D", function.coefficients)}
        if name == "Chebyshev1Function2":
            columns |= point_columns("min", "D", function.minimum)
            columns |= point_columns("max", "D", function.maximum)
    return archive.add(f"{name}D", _MATH, Catalog(columns))


def read_warping_control(archive, number):
    """WarpingControl; its mask kernel plays no part in PSFs."""
    from skydelta.lsst.affine_warp import WarpingControl

    row = archive.row(number)
    return WarpingControl(archive.load(row["warpingKernelIndex"]), int(row["cacheSize"]))


def write_warping_control(archive, control):
    """The counterpart of `read_warping_control`."""
    columns = {
        "warpingKernelIndex": ("J", [_write_warping_kernel(archive, control.kernel)]),
        "maskKernelIndex": ("J", [0]),
        "cacheSize": ("J", [control.cache_size]),
        "interpLength": ("J", [0]),
        "growFullMask": ("J", [0]),
    }
    return archive.add("WarpingControl", _MATH, Catalog(columns, flags={"hasMaskKernel": [False]}))


def read_warping_kernel(archive, number):
    """Name of a warping kernel, as WarpingControl takes it."""
    name = archive.class_name(number)
    if name == "LanczosWarpingKernel":
        return f"lanczos{int(archive.row(number)['order'])}"
    return name.removesuffix("WarpingKernel").lower()


def _write_warping_kernel(archive, kernel):
    if kernel.startswith("lanczos"):
        order = Catalog({"order": ("J", [int(kernel[7:])])})
        return archive.add("LanczosWarpingKernel", _MATH, order)
    return archive.add(f"{kernel.capitalize()}WarpingKernel", _MATH)


def read_transform(archive, number):
    """TransformPoint2ToPoint2."""
    from skydelta.lsst.transform import TransformPoint2ToPoint2

    text = np.asarray(archive.row(number)["bytes"], np.uint8).tobytes()
    return TransformPoint2ToPoint2(text.decode("ascii"))


def write_transform(archive, transform):
    """The counterpart of `read_transform`."""
    data = np.frombuffer(transform.text.encode("ascii"), np.uint8)
    columns = {"bytes": ("QB", [data])}
    return archive.add("TransformPoint2ToPoint2", "lsst.afw.geom", Catalog(columns))
