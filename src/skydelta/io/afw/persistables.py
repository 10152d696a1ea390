"""Which function reads and which writes the objects of each class that an archive may hold.

A reader is ``function(archive, number)`` with an InputArchive, a writer ``function(archive,
object)`` with an OutputArchive; the latter returns the number that the object was given.
"""

_CODECS = "skydelta.io.afw"

READERS = {
    "AnalyticKernel": (f"{_CODECS}.psfs_kernels", "read_analytic"),
    "BilinearWarpingKernel": (f"{_CODECS}.psfs_kernels", "read_warping_kernel"),
    "Chebyshev1Function2D": (f"{_CODECS}.psfs_kernels", "read_function"),
    "Chebyshev1Function2F": (f"{_CODECS}.psfs_kernels", "read_function"),
    "CoaddPsf": (f"{_CODECS}.psfs_coadd", "read_coadd"),
    "DoubleGaussianFunction2D": (f"{_CODECS}.psfs_kernels", "read_function"),
    "DoubleGaussianFunction2F": (f"{_CODECS}.psfs_kernels", "read_function"),
    "DoubleGaussianPsf": (f"{_CODECS}.psfs", "read_double_gaussian"),
    "FixedKernel": (f"{_CODECS}.psfs_kernels", "read_fixed"),
    "GaussianFunction2D": (f"{_CODECS}.psfs_kernels", "read_function"),
    "GaussianFunction2F": (f"{_CODECS}.psfs_kernels", "read_function"),
    "GaussianPsf": (f"{_CODECS}.psfs", "read_gaussian"),
    "KernelPsf": (f"{_CODECS}.psfs_kernels", "read_kernel_psf"),
    "LanczosWarpingKernel": (f"{_CODECS}.psfs_kernels", "read_warping_kernel"),
    "LinearCombinationKernel": (f"{_CODECS}.psfs_kernels", "read_linear_combination"),
    "NearestWarpingKernel": (f"{_CODECS}.psfs_kernels", "read_warping_kernel"),
    "PcaPsf": (f"{_CODECS}.psfs_kernels", "read_kernel_psf"),
    "PiffPsf": (f"{_CODECS}.psfs", "read_piff"),
    "PolynomialFunction2D": (f"{_CODECS}.psfs_kernels", "read_function"),
    "PolynomialFunction2F": (f"{_CODECS}.psfs_kernels", "read_function"),
    "PsfexPsf": (f"{_CODECS}.psfs", "read_psfex"),
    "SingleGaussianPsf": (f"{_CODECS}.psfs", "read_gaussian"),
    "TransformPoint2ToPoint2": (f"{_CODECS}.psfs_kernels", "read_transform"),
    "WarpedPsf": (f"{_CODECS}.psfs", "read_warped"),
    "WarpingControl": (f"{_CODECS}.psfs_kernels", "read_warping_control"),
}
"""(module, function) by the class name in the archive's index."""

WRITERS = {
    "AnalyticKernel": (f"{_CODECS}.psfs_kernels", "write_analytic"),
    "Chebyshev1Function2": (f"{_CODECS}.psfs_kernels", "write_function"),
    "CoaddPsf": (f"{_CODECS}.psfs_coadd", "write_coadd"),
    "DoubleGaussianFunction2": (f"{_CODECS}.psfs_kernels", "write_function"),
    "DoubleGaussianPsf": (f"{_CODECS}.psfs", "write_double_gaussian"),
    "FixedKernel": (f"{_CODECS}.psfs_kernels", "write_fixed"),
    "GaussianFunction2": (f"{_CODECS}.psfs_kernels", "write_function"),
    "GaussianPsf": (f"{_CODECS}.psfs", "write_gaussian"),
    "KernelPsf": (f"{_CODECS}.psfs_kernels", "write_kernel_psf"),
    "LinearCombinationKernel": (f"{_CODECS}.psfs_kernels", "write_linear_combination"),
    "PcaPsf": (f"{_CODECS}.psfs_kernels", "write_kernel_psf"),
    "PiffPsf": (f"{_CODECS}.psfs", "write_piff"),
    "PolynomialFunction2": (f"{_CODECS}.psfs_kernels", "write_function"),
    "PsfexPsf": (f"{_CODECS}.psfs", "write_psfex"),
    "SingleGaussianPsf": (f"{_CODECS}.psfs", "write_gaussian"),
    "TransformPoint2ToPoint2": (f"{_CODECS}.psfs_kernels", "write_transform"),
    "WarpedPsf": (f"{_CODECS}.psfs", "write_warped"),
    "WarpingControl": (f"{_CODECS}.psfs_kernels", "write_warping_control"),
}
"""(module, function) by the name of the value object's class."""
